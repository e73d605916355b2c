#!/usr/bin/env python3
"""Writes the same small data set in every layout that lockstep reads: make_layouts.py OUT PHOTO...

Prints the name of each layout's folder below OUT. The photos become four classes with wnids; nothing is decoded."""
# SPDX-License-Identifier: Apache-2.0
import gzip
import io
import pathlib
import struct
import sys
import tarfile
import zlib

WNIDS = ["n01440764", "n01443537", "n02084071", "n04507155"]
IDS = [3, 1, 4, 2]  # of the development kit: not in the order of the wnids
LONG = "/".join(["a-rather-long-name-of-a-folder"] * 7)  # 216 bytes: more than ustar's name field holds


def make_samples(photos):
    """[(wnid, name, bytes)] of both splits."""
    train = [(WNIDS[i % 4], f"{WNIDS[i % 4]}_{1000 - i}.JPEG", photo) for i, photo in enumerate(photos)]
    val = [(WNIDS[(3 * i) % 4], f"ILSVRC2012_val_{i + 1:08}.JPEG", photo) for i, photo in enumerate(photos[:6])]
    return train, val


def tar_bytes(members, form=tarfile.USTAR_FORMAT):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            info.mtime = 1_700_000_000.25  # pax: a record of its own
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def element(kind, content):
    """A data element of a MAT-file; small ones lie beside their length."""
    if kind != 14 and 0 < len(content) <= 4:
        return struct.pack("<HH", kind, len(content)) + content.ljust(4, b"\0")
    return struct.pack("<II", kind, len(content)) + content + b"\0" * (-len(content) % 8)


def matrix(kind, rows, columns, name, rest):
    return element(14, element(6, struct.pack("<II", kind, 0)) + element(5, struct.pack("<ii", rows, columns)) + element(1, name) + rest)


def number(value):
    return matrix(6, 1, 1, b"", element(4, struct.pack("<H", value)))


def text(value):
    return matrix(4, 1, len(value), b"", element(4, value.encode("utf-16-le")))


def meta_mat():
    """A struct array, deflated, as MATLAB writes it."""
    fields = [b"ILSVRC2012_ID", b"WNID", b"words", b"num_children"]
    rest = element(5, struct.pack("<i", 14)) + element(1, b"".join(field.ljust(14, b"\0") for field in fields))
    for identity, wnid, children in [*zip(IDS, WNIDS, [0] * 4), (1001, "n00001740", 2)]:
        rest += number(identity) + text(wnid) + text("some, words") + number(children)
    packed = zlib.compress(matrix(2, 5, 1, b"synsets", rest))
    return b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x100) + b"IM" + struct.pack("<II", 15, len(packed)) + packed


def devkit(val):
    truth = "".join(f"{IDS[WNIDS.index(wnid)]}\n" for wnid, _, _ in val).encode()
    folder = "ILSVRC2012_devkit_t12/data/"
    return gzip.compress(tar_bytes([(folder + "meta.mat", meta_mat()), (folder + "ILSVRC2012_validation_ground_truth.txt", truth)]))


def solution(val):
    return "ImageId,PredictionString\n" + "".join(f"{name[:-5]},{wnid} 1 2 3 4\n" for wnid, name, _ in val)


def by_class(split, above=""):
    return [(f"{above}{wnid}/{name}", content) for wnid, name, content in split]


def shard(split, form=tarfile.PAX_FORMAT):
    members = []
    for wnid, name, content in split:
        members += [(name, content), (name.replace(".JPEG", ".cls"), str(WNIDS.index(wnid)).encode())]
    return tar_bytes(members, form)


def tar_of_tars(train, form):
    inner = {wnid: tar_bytes([(name, content) for own, name, content in train if own == wnid], form) for wnid in reversed(WNIDS)}
    return tar_bytes([(f"{wnid}.tar", content) for wnid, content in inner.items()], form)


def layouts(train, val):
    """{name: {path: bytes}}"""
    flat = [(name, content) for _, name, content in val]
    kaggle = "ILSVRC/Data/CLS-LOC/"
    result = {
        "folder": dict(by_class(train, "train/") + by_class(val, "val/")),
        "kaggle": {**dict(by_class(train, kaggle + "train/")), **{kaggle + "val/" + name: content for name, content in flat},
                   "LOC_val_solution.csv": solution(val).encode()},
        "ilsvrc_flat_val": {"ILSVRC2012_img_train.tar": tar_of_tars(train, tarfile.GNU_FORMAT), "ILSVRC2012_devkit_t12.tar.gz": devkit(val),
                            **{"val/" + name: content for name, content in flat}},
    }
    for name, form in (("ustar", tarfile.USTAR_FORMAT), ("gnu", tarfile.GNU_FORMAT), ("pax", tarfile.PAX_FORMAT)):
        above = "./" if name == "ustar" else LONG + "/"
        result[f"ilsvrc_{name}"] = {"ILSVRC2012_img_train.tar": tar_of_tars(train, form), "ILSVRC2012_img_val.tar": tar_bytes(flat, form),
                                    "ILSVRC2012_devkit_t12.tar.gz": devkit(val)}
        result[f"tar_{name}"] = {"train.tar": tar_bytes(by_class(train, above), form), "test.tar": tar_bytes(by_class(val, above), form)}
        result[f"webdataset_{name}"] = {"train-000.tar": shard(train[:5], form), "train-001.tar": shard(train[5:], form),
                                        "val-000.tar": shard(val, form), "classes.txt": "\n".join(WNIDS).encode()}
    return result


def main():
    out, photos = pathlib.Path(sys.argv[1]), [pathlib.Path(path).read_bytes() for path in sys.argv[2:]]
    for layout, files in layouts(*make_samples(photos)).items():
        for path, content in files.items():
            file = out / layout / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        print(layout)


if __name__ == "__main__":
    main()
