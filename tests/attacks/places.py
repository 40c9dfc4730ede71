"""Parquet files and places that are not what they should be; as in ``attacks.sources``."""

import tarfile
import zipfile

import pyarrow as arrow
import pyarrow.parquet
from attacks.pictures import picture, saved
from attacks.sources import attack, write_npz


def write_parquet(place, labels=(0, 1, 0, 1), **more):
    """Four training and two test images; ``more`` are further columns of both."""
    place.mkdir(parents=True, exist_ok=True)
    for part, n in (("train", 4), ("test", 2)):
        content = [{"bytes": saved(picture(i)), "path": f"{i}.png"} for i in range(n)]
        columns = {"img": content, "label": [*labels[:n]], **{k: v[:n] for k, v in more.items()}}
        kept = {name: column for name, column in columns.items() if column}
        arrow.parquet.write_table(arrow.table(kept), place / f"{part}-0.parquet")
    return f"parquet:{place}"


@attack("whole Parquet files")
def half_a_parquet_file(place, hostile):
    name = write_parquet(place)
    path = place / "train-0.parquet"
    path.write_bytes(path.read_bytes()[: -60 if hostile else None])
    return name


@attack("a column among .*'label'")
def no_labels(place, hostile):
    return write_parquet(place, labels=() if hostile else (0, 1, 0, 1))


@attack("a label for every image.*1 without")
def a_label_missing(place, hostile):
    return write_parquet(place, labels=(0, 1, None if hostile else 0, 1))


@attack("whole numbers or names as labels.*1.5")
def half_a_label(place, hostile):
    return write_parquet(place, labels=(0.0, 1.5, 0.0, 1.0) if hostile else (0, 1, 0, 1))


@attack("labels from 0 to")
def a_label_below_zero(place, hostile):
    return write_parquet(place, labels=(0, 1, 0, -1 if hostile else 1))


@attack("labels from 0 to")
def an_id_as_a_label(place, hostile):
    return write_parquet(place, labels=(0, 1, 0, 20_000_000_000 if hostile else 1))


@attack(r"labels, ids and columns of numbers or text.*timestamp\[ms\]")
def a_time_in_the_year_36812(place, hostile):
    times = arrow.array([0, 1, 2, 2**40], arrow.timestamp("s"))
    return write_parquet(place, labels=times if hostile else (0, 1, 0, 1))


@attack("a column of encoded images")
def text_for_images(place, hostile):
    return write_parquet(place, **({"img": ["a.png"] * 4} if hostile else {}))


@attack(r"test\*.parquet in .* got none")
def no_test_images(place, hostile):
    name = write_parquet(place)
    if hostile:
        (place / "test-0.parquet").unlink()
    return name


@attack("the same columns in all parts")
def a_column_in_one_part_only(place, hostile):
    name = write_parquet(place, who=["anna", "ben", "anna", "ben"])
    if hostile:
        table = arrow.parquet.read_table(place / "test-0.parquet").drop_columns("who")
        arrow.parquet.write_table(table, place / "test-0.parquet")
    return name


@attack(r"columns of numbers or text.*timestamp\[ms\]")
def times_in_one_part_where_the_other_has_text(place, hostile):
    name = write_parquet(place, who=["anna", "ben", "anna", "ben"])
    if hostile:
        table = arrow.parquet.read_table(place / "test-0.parquet").drop_columns("who")
        times = arrow.array([0, 2**40], arrow.timestamp("s"))
        arrow.parquet.write_table(table.append_column("who", times), place / "test-0.parquet")
    return name


@attack("1 repeated")
def an_id_given_twice(place, hostile):
    ids = ["a", "b", "c", "d"]
    name = write_parquet(place, id=ids)
    test = ["a" if hostile else "e", "f"]
    table = arrow.parquet.read_table(place / "test-0.parquet").drop_columns("id")
    arrow.parquet.write_table(table.append_column("id", [test]), place / "test-0.parquet")
    return name


@attack("an archive: unpack it")
def a_tar_archive(place, hostile):
    name = write_parquet(place / "photos")
    with tarfile.open(place / "photos.tar.gz", "w:gz") as archive:
        archive.add(place / "photos", "photos")
    return f"parquet:{place / 'photos.tar.gz'}" if hostile else name


@attack("an archive: unpack it")
def a_zip_archive(place, hostile):
    name = write_parquet(place / "photos")
    with zipfile.ZipFile(place / "photos.zip", "w") as archive:
        archive.write(place / "photos/train-0.parquet", "train-0.parquet")
    return f"parquet:{place / 'photos.zip'}" if hostile else name


@attack("got a file")
def a_file_for_a_folder(place, hostile):
    name = write_parquet(place)
    return f"{name}/train-0.parquet" if hostile else name


@attack("a file at .* got a folder")
def a_folder_for_a_file(place, hostile):
    name = write_npz(place)
    return f"npz:{place}" if hostile else name


@attack("got nothing there")
def a_folder_that_is_not_there(place, hostile):
    name = write_parquet(place)
    return f"{name}/photos" if hostile else name


@attack("the URL .* never fetches")
def a_url(place, hostile):
    name = write_parquet(place)
    return "parquet:http://169.254.169.254/latest" if hostile else name


@attack("the URL .* never fetches")
def a_url_of_a_file(place, hostile):
    name = write_parquet(place)
    return f"parquet:file://{place}" if hostile else name


@attack("got .*(null|nothing)")
def a_path_with_a_zero(place, hostile):
    name = write_parquet(place)
    return f"{name}\0" if hostile else name
