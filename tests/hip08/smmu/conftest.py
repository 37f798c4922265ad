"""How hard the tests of the SMMU try: `pytest tests/hip08/smmu --hypothesis-profile=thorough` tries fifty times as hard."""

from hypothesis import settings

settings.register_profile("thorough", max_examples=5000, deadline=None)
