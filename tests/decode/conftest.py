from hypothesis import settings

# A busy machine is no failure: examples take as long as they take.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
