"""`herdwise demo`; that it serves and that its curl line works is shown by tests/test_runs.py."""


def test_a_folder_that_cannot_be_made_is_refused_before_anything_is_trained(herdwise, tmp_path):
    (tmp_path / "file").write_text("in the way")
    run = herdwise("demo", "--dir", tmp_path / "file" / "run", "--no-serve")
    assert run.code == 2
    assert str(tmp_path / "file") in run.err
    assert run.out == ""
