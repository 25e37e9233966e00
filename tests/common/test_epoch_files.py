from common.epoch_files import epoch_files, epoch_of


def test_files_of_epochs_are_in_the_order_of_their_numbers(tmp_path):
    for name in ("epoch_999.png", "epoch_1000.png", "epoch_007.png", "epoch_8.pt"):
        (tmp_path / name).touch()
    assert [epoch_of(file) for file in epoch_files(tmp_path, ".png")] == [7, 999, 1000]
    assert epoch_files(tmp_path / "nowhere", ".png") == []
