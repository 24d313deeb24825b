import subprocess
import sys

import alloysort


def test_every_public_name_can_be_had():
    for name in alloysort.__all__:
        assert getattr(alloysort, name) is not None
    assert set(alloysort.__all__) == set(alloysort._HOME)


def test_importing_the_front_door_loads_nothing_else():
    code = "import sys, alloysort; sys.exit(any(name.startswith('alloysort_') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
