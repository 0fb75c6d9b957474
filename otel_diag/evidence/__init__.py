"""What a report rests on, and what it did not look at: built from the judgement, with SQL that shows the rows."""
