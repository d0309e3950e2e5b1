import platform

from ssmith.devices.fingerprint import busy_note, host_fingerprint


def test_fingerprint_names_the_machine_and_leaves_out_what_is_unknown():
    found = host_fingerprint()
    assert found["machine"] == platform.machine()
    assert found["python"].endswith(platform.python_version())
    assert {"ssmith", "numpy", "cores", "date"} <= set(found)
    assert all(text.strip() for text in found.values())
    assert "pinned_core" not in found
    assert host_fingerprint(0)["pinned_core"] == "0"


def test_a_busy_machine_is_noted():
    assert busy_note({"load_1min": "0.90", "cores": "2"}) is None
    assert busy_note({}) is None
    assert "4.5 on 2 cores" in (busy_note({"load_1min": "4.50", "cores": "2"}) or "")
