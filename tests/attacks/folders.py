"""Folders of image files, and the tables beside them; as in ``attacks.sources``."""

import os

from attacks.pictures import picture, saved
from attacks.sources import attack

PLACES = (("train", 1), ("train", 2), ("test", 1))


def write_folder(place, extra=None, table=None, also=("train/cat/odd.png",)):
    """Two classes of two training images and a test image, and one more cat.

    ``extra`` is what that one holds, ``table`` what is in ``metadata.csv``, and ``also`` names more
    images.
    """
    names = [f"{part}/{kind}/{n}.png" for kind in ("cat", "dog") for part, n in PLACES]
    for n, name in enumerate([*names, *also]):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(saved(picture(n)))
    if extra is not None:
        (place / also[0]).write_bytes(extra)
    if table is not None:
        (place / "metadata.csv").write_text(table, encoding="utf-8")
    return f"folder:{place}"


@attack("images of one size.*--size")
def a_picture_of_another_size(place, hostile):
    return write_folder(place, extra=saved(picture(size=9 if hostile else 8)))


@attack(r"labels among \('cat', 'dog'\).*'cow'")
def a_class_that_is_only_tested(place, hostile):
    return write_folder(place, also=("train/cat/3.png", *(["test/cow/1.png"] * hostile)))


@attack("test/CLASS")
def no_test_folder(place, hostile):
    name = write_folder(place)
    if hostile:
        (place / "test").rename(place / "testing")
    return name


@attack("train/CLASS")
def files_without_a_class(place, hostile):
    name = write_folder(place)
    if hostile:
        for path in [*(place / "train").glob("*/*.png")]:
            path.rename(place / "train" / f"{path.parent.name}{path.name}")
    return name


@attack("test/CLASS, got none")
def links_out_of_the_folder(place, hostile):
    name = write_folder(place / "photos")
    if hostile:
        for path in [*(place / "photos/test").glob("*/*.png")]:
            path.rename(place / f"{path.parent.name}.png")
            os.symlink(place / f"{path.parent.name}.png", path)
    return name


@attack("test/CLASS, got none")
def a_loop_of_links(place, hostile):
    name = write_folder(place)
    if hostile:
        for kind in ("cat", "dog"):
            (place / f"test/{kind}/1.png").unlink()
            os.symlink("..", place / f"test/{kind}/loop")
            os.symlink("itself", place / f"test/{kind}/itself")
    return name


@attack("two for 'train/cat/1.png'")
def a_row_that_contradicts_another(place, hostile):
    rows = [
        "file_name,who",
        "train/cat/1.png,anna",
        f"train/cat/1.png,{'ben' if hostile else 'anna'}",
    ]
    return write_folder(place, table="\n".join(rows))


@attack("2 values in each row")
def a_row_too_short(place, hostile):
    return write_folder(place, table=f"path,who\ntrain/cat/1.png{'' if hostile else ',anna'}\n")


@attack("columns of different names")
def two_columns_of_one_name(place, hostile):
    return write_folder(place, table=f"id,who,{'who' if hostile else 'why'}\ntrain/cat/1.png,a,b\n")


@attack("a column among .*'file_name'")
def a_table_without_ids(place, hostile):
    return write_folder(place, table=f"{'name' if hostile else 'id'},who\ntrain/cat/1.png,anna\n")


@attack("ids like .*'cat1.png'")
def a_table_of_other_images(place, hostile):
    return write_folder(
        place, table=f"id,who\n{'cat1.png' if hostile else 'train/cat/1.png'},anna\n"
    )


@attack("a table with a line of names")
def a_quote_left_open(place, hostile):
    return write_folder(place, table=f'id,who\ntrain/cat/1.png,"anna{"" if hostile else chr(34)}')


@attack("a table with a line of names")
def a_table_of_nothing(place, hostile):
    return write_folder(place, table="" if hostile else "id,who\ntrain/cat/1.png,anna")


@attack("a text file of a table")
def a_table_that_is_no_text(place, hostile):
    name = write_folder(place, table="id,who\ntrain/cat/1.png,anna")
    if hostile:
        (place / "metadata.csv").write_bytes(b"id,who\n\xff\xfe\xfd")
    return name


@attack("one table in")
def two_tables(place, hostile):
    name = write_folder(place)
    for n in range(1 + hostile):
        (place / f"table{n}.csv").write_text("id,who\ntrain/cat/1.png,anna")
    return name
