"""The words of the grammar: which phrases stand for which concept. Names and times are recognised elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from otel_diag.ask.intent import Dimension, Metric
from otel_diag.ask.windows import WORDS as TIME_WORDS
from otel_diag.model import RootCauseType, Status


class Kind(Enum):
    """What a phrase does in a question."""

    WHY = auto()
    LIST = auto()
    COUNT = auto()
    METRIC = auto()
    LATENCY = auto()
    STATUS = auto()
    CAUSE = auto()
    SIMILAR = auto()
    COMPARE = auto()
    THAN = auto()
    CHANGED = auto()
    """A comparison over time without a named baseline: "slower", "than usual", "got worse"."""
    NEW = auto()
    """Not there before, or not any more."""
    GAPS = auto()
    TIMELINE = auto()
    SUMMARY = auto()
    PERFORMANCE = auto()
    SLOWEST = auto()
    MOST = auto()
    TOP = auto()
    NOUN = auto()
    """Executions, spans or "things" in general."""
    DIMENSION = auto()
    GROUP = auto()
    EXIST = auto()
    LINK = auto()
    """A preposition that a name may follow."""
    AND = auto()
    NOT = auto()
    ANAPHOR = auto()
    TEXT = auto()
    LONGER = auto()
    SHORTER = auto()
    ABOUT = auto()
    UNSUPPORTED = auto()
    FILLER = auto()


@dataclass(frozen=True, slots=True)
class Entry:
    """``value``: which one of its kind: a metric, a status, a dimension, the order of a ranking ..."""

    kind: Kind
    value: str = ""


FAILURE: Final = f"{Status.FAILED},{Status.TIMEOUT}"

_ENTRIES: Final[tuple[tuple[Kind, str, str], ...]] = (
    (
        Kind.WHY,
        "",
        """
        in common | have in common | took so long | odd | strange | unusual | suspicious | why | how come | what
        went wrong | what goes wrong | what is going wrong | what happened | what caused | what is causing | what
        causes | reason | reasons | what made | what makes | what broke | diagnose | diagnosis | diagnosing |
        explain | explanation | debug | investigate | root cause | root causes | cause | causes | what is wrong |
        what was wrong | caused | due to what | troubleshoot | what led to | figure out | analyse | analyze |
        culprit | responsible | to blame | blame | what killed | find out | what the problem | what is the
        problem | what was the problem | what the matter | what is the matter | post mortem | postmortem
        """,
    ),
    (
        Kind.LIST,
        "",
        """
        whats | show | list | give | find | display | get | see | fetch | print | pull up | look up | which |
        what | any | are there | is there | were there | was there | who | search | view | return | has anything
        | anything | did any
        """,
    ),
    (
        Kind.COUNT,
        "",
        """
        how many | number of | count | count of | counts | total number | amount of | tally | how much | quantity
        of
        """,
    ),
    (
        Kind.METRIC,
        Metric.AVG,
        """
        average | averages | avg | mean | typical | typically | on average | usually | normally
        """,
    ),
    (
        Kind.METRIC,
        Metric.P50,
        """
        median | p50 | 50th percentile | 50th | 50 th percentile
        """,
    ),
    (
        Kind.METRIC,
        Metric.P75,
        """
        p75 | 75th percentile | 75th
        """,
    ),
    (
        Kind.METRIC,
        Metric.P90,
        """
        p90 | 90th percentile | 90th
        """,
    ),
    (
        Kind.METRIC,
        Metric.P95,
        """
        p95 | 95th percentile | 95th | 95 percentile | tail latency
        """,
    ),
    (
        Kind.METRIC,
        Metric.P99,
        """
        p99 | 99th percentile | 99th | 99 percentile
        """,
    ),
    (
        Kind.METRIC,
        Metric.MAX,
        """
        max | maximum | peak | longest duration | highest duration | worst case
        """,
    ),
    (
        Kind.METRIC,
        Metric.MIN,
        """
        min | minimum | shortest duration | lowest duration | best case
        """,
    ),
    (
        Kind.METRIC,
        Metric.ERROR_RATE,
        """
        error rate | error rates | failure rate | failure rates | fail rate | failing rate | error ratio |
        failure ratio | error percentage | failure percentage | percentage of failures | percentage of errors |
        rate of failure | rate of failures | rate of errors | how often
        """,
    ),
    (
        Kind.METRIC,
        Metric.TIMEOUT_RATE,
        """
        timeout rate | timeout rates | time out rate | rate of timeouts | timeout ratio
        """,
    ),
    (
        Kind.METRIC,
        Metric.SUCCESS_RATE,
        """
        success rate | success rates | success ratio | reliability | reliable | availability | completion rate
        """,
    ),
    (
        Kind.METRIC,
        Metric.THROUGHPUT,
        """
        per minute | per second | a second | throughput | rps | qps | requests per second | calls per second |
        executions per second | requests per minute | calls per minute | executions per minute | spans per second
        | spans per minute | runs per minute | runs per second | request rate | call rate | traffic | requests a
        second | calls a second | calls a minute | executions a minute | requests a minute | execution rate |
        load on
        """,
    ),
    (
        Kind.METRIC,
        "share",
        """
        percentage of | percent of | fraction of | share of | proportion of | ratio of | percentage
        """,
    ),
    (
        Kind.LATENCY,
        "",
        """
        dur | duration | durations | latency | latencies | response time | response times | how long | how slow |
        how fast | how quick | how quickly | runtime | run time | execution time | processing time | elapsed time
        | inference time | time taken | wall time | elapsed | timing | timings | completion time
        """,
    ),
    (
        Kind.STATUS,
        FAILURE,
        """
        failed | fail | fails | failing | failure | failures | error | errors | errored | erroring | crash |
        crashed | crashes | crashing | broken | unsuccessful | died | die | dies | dying | bad | faulty | break |
        breaks | breaking | go wrong | went wrong | gone wrong | wrong | problem | problems | issue | issues |
        not complete | not completed | not succeed | not finish | not work | not working | not successful |
        unhealthy | exceptions | exception | blew up | blow up | blowing up | went down | aborted | faults |
        fault | incident | incidents | not ok | fell over | trouble
        """,
    ),
    (
        Kind.STATUS,
        Status.TIMEOUT,
        """
        timeout | timeouts | timed out | time out | times out | timing out | time outs | deadline exceeded |
        deadline | deadlines | exceeded deadline | exceeded their deadline | exceeded its deadline | deadline
        exceeds | hit the timeout
        """,
    ),
    (
        Kind.STATUS,
        Status.COMPLETED,
        """
        completed | complete | succeeded | succeed | succeeding | successful | successfully | success | successes
        | ok | healthy | passed | finished | not fail | not failed | not failing
        """,
    ),
    (
        Kind.STATUS,
        Status.RUNNING,
        """
        running | in progress | unfinished | stuck | hanging | hung | still running | never finished | ongoing |
        pending
        """,
    ),
    (
        Kind.CAUSE,
        RootCauseType.PRE_EXECUTION_FAILURE,
        """
        pre execution failure | pre execution failures | failed before execution
        """,
    ),
    (
        Kind.CAUSE,
        RootCauseType.CONFIGURATION_ERROR,
        """
        configuration error | configuration errors | config error | config errors | misconfigured |
        misconfiguration | misconfigurations | configuration failures | configuration problems
        """,
    ),
    (
        Kind.CAUSE,
        RootCauseType.VALIDATION_ERROR,
        """
        validation error | validation errors | validation failure | validation failures | invalid input |
        rejected input
        """,
    ),
    (
        Kind.CAUSE,
        RootCauseType.RATE_LIMITED,
        """
        rate limited | rate limit | rate limits | rate limiting | throttled | throttling | rate limit errors |
        rate limit error | too many requests | quota exceeded
        """,
    ),
    (
        Kind.CAUSE,
        RootCauseType.RESOURCE_EXHAUSTED,
        """
        resource exhausted | resource exhaustion | out of memory | oom | ooms | oom kills | oom killed | oom
        errors | out of memory errors | ran out of memory | memory errors | out of disk | disk full
        """,
    ),
    (
        Kind.CAUSE,
        RootCauseType.RETRY_STORM,
        """
        retry storm | retry storms | retried too often
        """,
    ),
    (
        Kind.CAUSE,
        RootCauseType.CONNECTION_FAILURE,
        """
        connection failure | connection failures | connection error | connection errors | connection refused |
        connection reset | refused connections | refused connection | dns failure | dns failures | dns errors |
        dns error | unreachable | tls errors | connection problems | connectivity | could not connect |
        connectivity problems | connection issues
        """,
    ),
    (
        Kind.CAUSE,
        RootCauseType.NETWORK_TIMEOUT,
        """
        network timeout | network timeouts | lost response | lost responses
        """,
    ),
    (
        Kind.CAUSE,
        RootCauseType.SERVICE_TIMEOUT,
        """
        service timeout | service timeouts
        """,
    ),
    (
        Kind.CAUSE,
        RootCauseType.COLD_START,
        """
        cold start | cold starts | coldstart | coldstarts | cold started
        """,
    ),
    (
        Kind.CAUSE,
        RootCauseType.QUEUE_DELAY,
        """
        queue delay | queue delays | queueing | queuing | queueing delay | queued too long
        """,
    ),
    (
        Kind.CAUSE,
        RootCauseType.MODAL_EXECUTION_FAILURE,
        """
        modal execution failure | modal execution failures | preempted | preemption | preemptions | container
        lost
        """,
    ),
    (
        Kind.CAUSE,
        RootCauseType.DEPENDENCY_FAILURE,
        """
        dependency failure | dependency failures | dependency errors
        """,
    ),
    (
        Kind.CAUSE,
        RootCauseType.SERVICE_ERROR,
        """
        service error | service errors
        """,
    ),
    (
        Kind.CAUSE,
        RootCauseType.PERFORMANCE_DEGRADATION,
        """
        performance degradation | performance degradations | degraded
        """,
    ),
    (
        Kind.CAUSE,
        RootCauseType.MISSING_SERVICE,
        """
        missing service | missing services
        """,
    ),
    (
        Kind.CAUSE,
        RootCauseType.INCOMPLETE_TRACE,
        """
        incomplete trace | incomplete traces
        """,
    ),
    (
        Kind.CAUSE,
        RootCauseType.UNKNOWN,
        """
        unknown cause | unknown root cause | unknown reason | unknown causes
        """,
    ),
    (
        Kind.SIMILAR,
        "",
        """
        similar | similarly | same way | same reason | same error | same cause | same problem | same failure |
        same issue | same pattern | same symptom | same symptoms | alike | resemble | resembling | resembles |
        the same as | same thing | same fate | like | look like | looks like | related to | comparable |
        comparable to | same root cause | also | other cases
        """,
    ),
    (
        Kind.COMPARE,
        "",
        """
        compare | compared | comparing | comparison | difference | differences | differ | differs | different |
        different from | diff | versus | vs | against | contrast | side by side | compares
        """,
    ),
    (
        Kind.THAN,
        "",
        """
        than | compared to | compared with | relative to | as opposed to | in comparison to | as it was
        """,
    ),
    (
        Kind.CHANGED,
        "",
        """
        more | fewer | less | slower | faster | worse | better | slowed down | slowed | sped up | got slow |
        gotten slow | get slower | regressed | regression | regressions | degrading | trend | trending | changed
        | change | change in | increase | increased | increasing | decreased | decreasing | gone up | went up |
        going up | gone down | going down | dropped | usual | normal | before that | previously | higher | lower
        | deteriorated | improve | improved | quicker | slowing | slowing down | getting slow
        """,
    ),
    (
        Kind.NEW,
        "",
        """
        new | newly | brand new | unseen | never seen | never seen before | not seen before | first seen | appear |
        appeared | appearing | started appearing | showed up | gone away | are gone | is gone | went away |
        disappeared | vanished | no longer see | no longer seen | new or gone | not there before |
        never had before | never had
        """,
    ),
    (
        Kind.GAPS,
        "",
        """
        gap | gaps | lost | lose time | lost time | losing time | lose its time | time lost | time go | time went
        | time gone | idle | idle time | waiting | wait | waited | dead time | waste time | wasted time | time
        wasted | spend time | spend its time | spent its time | time spent | spent time | spend the time | spent
        the time | spent most of its time | spend most of its time | time being spent | unaccounted | delay |
        delays | stall | stalls | stalled | missing time | time disappear | time vanish
        """,
    ),
    (
        Kind.TIMELINE,
        "",
        """
        walk | walk me through | timeline | time line | waterfall | steps | step by step | sequence | span tree |
        call tree | flame | gantt | chronology | order of events | what ran | trace view
        """,
    ),
    (
        Kind.SUMMARY,
        "",
        """
        summary | summarise | summarize | overview | tell | about it | in short | status | stats | statistics |
        recap | brief | digest | details | outcome | result
        """,
    ),
    (
        Kind.PERFORMANCE,
        "",
        """
        how healthy | going on | everything ok | everything fine | everything healthy | all good | performance |
        perform | performs | performing | performed | doing | health | behaving | behave | perf | holding up |
        fare
        """,
    ),
    (
        Kind.SLOWEST,
        "desc",
        """
        slowest | longest | longest running | slow | most time consuming | longest lasting | took longest | took
        the longest | take longest | take the longest | takes longest | takes the longest | took the most time |
        takes the most time | take the most time | sluggish | laggiest | bottleneck | bottlenecks | worst latency
        | highest latency | highest latencies | slowly | most slow | long running
        """,
    ),
    (
        Kind.SLOWEST,
        "asc",
        """
        fastest | quickest | shortest | lowest latency | fast | quick
        """,
    ),
    (
        Kind.MOST,
        "desc",
        """
        rank | ranking | most | highest | largest | biggest | worst | greatest | most often | most frequently |
        top most | most common | commonest | most frequent
        """,
    ),
    (
        Kind.MOST,
        "asc",
        """
        least | lowest | fewest | smallest | best | rarest | least often
        """,
    ),
    (
        Kind.TOP,
        "",
        """
        top | first | last | latest | newest | most recent | limit | up to
        """,
    ),
    (
        Kind.NOUN,
        "executions",
        """
        execution_id | execution.id | trace_id | execution | executions | exec | execs | run | runs | trace |
        traces | task | tasks | workflow | workflows | evaluation | evaluations
        """,
    ),
    (
        Kind.NOUN,
        "spans",
        """
        step | span | spans | call | calls | request | requests | invocation | invocations | calling | called |
        invoked | attempts
        """,
    ),
    (
        Kind.NOUN,
        "",
        """
        things | everything | something | stuff | id | ids | name | names | named | ones | cases | case | items
        """,
    ),
    (
        Kind.DIMENSION,
        Dimension.SERVICE,
        """
        service | services | component | components | microservice | microservices | app | apps | hop
        """,
    ),
    (
        Kind.DIMENSION,
        Dimension.OPERATION,
        """
        operation | operations | function | functions | endpoint | endpoints | method | methods | route | routes
        """,
    ),
    (
        Kind.DIMENSION,
        Dimension.MODEL,
        """
        model_id | model.id | model | models | llm | llms
        """,
    ),
    (
        Kind.DIMENSION,
        Dimension.REGION,
        """
        region | regions | datacenter | datacenters | location | locations | zone | zones
        """,
    ),
    (
        Kind.DIMENSION,
        Dimension.JOB,
        """
        job_id | job.id | job | jobs | batch | batches
        """,
    ),
    (
        Kind.DIMENSION,
        Dimension.STATUS,
        """
        statuses
        """,
    ),
    (
        Kind.DIMENSION,
        Dimension.ROOT_CAUSE,
        """
        root cause type | root cause types | cause type | failure type | failure types | failure reason | failure
        reasons | failure cause | failure causes
        """,
    ),
    (
        Kind.DIMENSION,
        Dimension.ERROR,
        """
        error message | error messages | error type | error types | exception type | kind of error | kinds of
        error | kinds of errors
        """,
    ),
    (
        Kind.GROUP,
        "",
        """
        per | by | for each | for every | in each | in every | each | every | grouped by | group by | broken down
        by | break down by | breakdown by | split by | across | sorted by | split across | grouped | breakdown |
        broken down | split | distribution of | distribution across | spread over | over all
        """,
    ),
    (
        Kind.GROUP,
        Dimension.HOUR,
        """
        hourly | per hour | by hour | each hour | every hour | for each hour
        """,
    ),
    (
        Kind.GROUP,
        Dimension.DAY,
        """
        daily | per day | by day | each day | every day | for each day
        """,
    ),
    (
        Kind.EXIST,
        "",
        """
        exist | exists | available | known | we have | i have | you have | you know | seen | there are | do you
        see | recorded | stored | do we run | reporting | report | send data | sending data | sends data | in use
        | names of
        """,
    ),
    (
        Kind.LINK,
        "",
        """
        of | in | for | on | at | to | from | inside | within | through | via | involving | with | by | touching
        | using | into | under | during | over | having | out of
        """,
    ),
    (
        Kind.AND,
        "",
        """
        and | or | , | & | plus | as well as | nor
        """,
    ),
    (
        Kind.NOT,
        "",
        """
        not | except | excluding | exclude | without | other than | but not | ignoring | ignore | never | no |
        besides | apart from | except for | not in | none | neither
        """,
    ),
    (
        Kind.ANAPHOR,
        "",
        """
        it | its | this | this one | that one | this execution | that execution | this run | that run | the
        execution | the run | this trace | that trace | this failure | that failure | this timeout | this error |
        that error
        """,
    ),
    (
        Kind.TEXT,
        "",
        """
        containing | contains | contain | mentioning | mentions | mention | saying | says | say | with error |
        with the error | with error message | with message | with text | with the text | error message contains |
        matching | matches | error text | whose error | reading | include | includes | including | with the
        message | with the error message
        """,
    ),
    (
        Kind.LONGER,
        "",
        """
        longer than | more than | slower than | greater than | over | above | exceeding | exceed | exceeded |
        exceeds | at least | no less than | > | >= | after | beyond | took over | bigger than | not less than |
        higher than | upwards of | minimum of
        """,
    ),
    (
        Kind.SHORTER,
        "",
        """
        less than | under | below | faster than | shorter than | quicker than | within | at most | no more than |
        up to | < | <= | in under | in less than | fewer than | lower than | not more than | smaller than |
        maximum of
        """,
    ),
    (
        Kind.ABOUT,
        "",
        """
        in | around | about | roughly | approximately | of | at | in about | in around | = | almost | some |
        nearly | only
        """,
    ),
    (
        Kind.UNSUPPORTED,
        "money and tokens",
        """
        cost | costs | price | prices | dollars | spend | token | tokens | expensive | cheap | cheapest |
        spending | budget | cost per
        """,
    ),
    (
        Kind.UNSUPPORTED,
        "CPU, memory and GPU use",
        """
        cpu | memory usage | memory use | gpu usage | gpu utilisation | gpu utilization | ram | disk usage |
        memory
        """,
    ),
    (
        Kind.UNSUPPORTED,
        "changing anything: questions only read",
        """
        delete | drop | remove | restart | kill | fix | stop | insert | update | retry | rerun | deploy |
        rollback | truncate | create | cancel | purge | set
        """,
    ),
    (
        Kind.UNSUPPORTED,
        "the future",
        """
        predict | forecast | tomorrow | next week | next month | will | next hour
        """,
    ),
    (
        Kind.UNSUPPORTED,
        "people",
        """
        user | users | customer | customers | people | person | salary | weather | joke | poem | song | team |
        teams
        """,
    ),
    (
        Kind.FILLER,
        "",
        """
        become | needs | else | part | isolated | caused by | because of | the | a | an | please | me | us | i |
        we | you | can | could | would | is | are | was | were | be | been | being | am | do | does | did | done
        | has | have | had | all | 's | our | my | your | there | so | just | now | currently | right now | hey |
        hi | hello | thanks | thank | for me | want | wanted | need | like to know | would like | to know | know
        | let | if | then | as | but | how | when | where | that have | that were | that are | that was | that |
        which have | who | they | them | their | these | those | time | times | take | takes | taking | took |
        taken | going | gone | came | get | got | getting | happen | happened | happening | occur | occurred |
        occurring | recent | recently | lately | total | overall | really | actually | exactly | quickly |
        today's | value | values | data | information | info | much | many | rate | entire | whole | single |
        individual | specific | particular | main | keep | keeps | kept | keeping | seem | seems | still |
        already | again | ever | both | same | other | others | another | end | up | ended | long | with |
        because | since | between | went | out | off | down | system | pipeline | hit | hits | doing so | look |
        looking | at | check | quick | question | wondering | wonder | curious | maybe | perhaps | help |
        understand | finish | work | works | worked | working | go | come | one | should | must | may | might |
        also | too | very | due | due to | sort | sorted | order | ordered | descending | ascending | sort by |
        order by | ordered by | duration of each | suddenly | constantly | always | often | must have | terms |
        in terms of | regard | regarding | concerning | respect | frequency | say | make | made | cause of |
        experienced | experiencing | experience | see | observed | encountered | encounter | received | returned
        | threw | thrown | throw | throwing | raised | gave | giving | produced | ours | here | ok so | utc |
        type | types | kind | kinds | state | level | window | period | ago | period of | on average for | on |
        till | until | back | than that | ms of | range | lasted | lasting | lasts | last for | ran | runs for |
        been running
        """,
    ),
    (
        Kind.SLOWEST,
        "desc",
        """
        runs longest | ran longest | ran the longest | lasted longest
        """,
    ),
)


def _phrases() -> Iterator[tuple[tuple[str, ...], Entry]]:
    """Every phrase with its entries; a phrase may stand under several kinds."""
    for kind, value, phrases in _ENTRIES:
        for phrase in phrases.split("|"):
            yield tuple(phrase.split()), Entry(kind, value)
    for cause in RootCauseType:
        if "_" in cause:
            yield (cause.casefold(),), Entry(Kind.CAUSE, cause)


def _index() -> dict[tuple[str, ...], tuple[Entry, ...]]:
    index: dict[tuple[str, ...], tuple[Entry, ...]] = {}
    for phrase, entry in _phrases():
        index[phrase] = (*index.get(phrase, ()), entry)
    return index


PHRASES: Final = _index()
"""Phrase (its words, lower case) to what it may mean, the likeliest first."""

LONGEST: Final = max(map(len, PHRASES))
WORDS: Final = frozenset(word for phrase in PHRASES for word in phrase)
CORRECTABLE: Final = frozenset(word for word in WORDS if len(word) >= 6 and word.isalpha()) | TIME_WORDS
