#!/usr/bin/env python3
"""Writes the seeds of the fuzz targets into tests/fuzz/corpus. The images' seeds are tests/golden/images and a few of a fuzzer's finds.

Standard library only. The bytes are the same on every run.
"""
# SPDX-License-Identifier: Apache-2.0
import gzip
import io
import json
import pathlib
import struct
import tarfile

CORPUS = pathlib.Path(__file__).parent / "corpus"


def write(target, name, data):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def tar(fmt, names, pax=None):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=fmt, pax_headers=pax or {}) as archive:
        for i, name in enumerate(names):
            info = tarfile.TarInfo(name)
            if name.endswith("/"):
                info.type = tarfile.DIRTYPE
                archive.addfile(info)
                continue
            data = bytes(range(i + 1)) * 30
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()[: 512 * 16]  # without most of the padding behind the end


def tars():
    long_name = "folder/" * 20 + "n" * 120 + ".jpg"
    names = ["a/", "a/0.jpg", "a/1.JPEG"]
    write("tar", "ustar", tar(tarfile.USTAR_FORMAT, names))
    write("tar", "gnu_long_name", tar(tarfile.GNU_FORMAT, names[1:2] + [long_name]))
    write("tar", "pax_long_name", tar(tarfile.PAX_FORMAT, [long_name, "b.png"], {"comment": "global"}))
    write("tar", "pax_unicode", tar(tarfile.PAX_FORMAT, ["caf\u00e9.jpg"]))
    inner = tar(tarfile.USTAR_FORMAT, ["x.jpg"])[:2048]
    outer = io.BytesIO()
    with tarfile.open(fileobj=outer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        info = tarfile.TarInfo("n00000001.tar")
        info.size = len(inner)
        archive.addfile(info, io.BytesIO(inner))
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "x.jpg"
        archive.addfile(link)
    write("tar", "inner_and_link", outer.getvalue()[: 512 * 8])
    base256 = bytearray(tar(tarfile.USTAR_FORMAT, ["big.jpg"]))
    base256[124:136] = b"\x80" + (30).to_bytes(11, "big")
    base256[148:156] = b" " * 8
    base256[148:156] = b"%06o\0 " % sum(base256[:512])
    write("tar", "base256_size", bytes(base256[:2048]))


def idx(extents, values):
    return struct.pack(">BBBB", 0, 0, 8, len(extents)) + b"".join(struct.pack(">I", e) for e in extents) + values


def idxs():
    labels = idx([6], bytes(i % 10 for i in range(6)))
    grey = idx([6, 4, 5], bytes(range(120)))
    colour = idx([6, 2, 2, 3], bytes(range(72)))
    pack = lambda a, b: struct.pack("<H", len(a)) + a + b
    write("idx", "grey", pack(labels, grey))
    write("idx", "colour", pack(labels, colour))
    write("idx", "gzip", pack(gzip.compress(labels, mtime=0), gzip.compress(grey, mtime=0)))
    write("idx", "counts_differ", pack(idx([5], bytes(5)), grey))
    write("idx", "huge_extents", pack(labels, idx([0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF], b"")))
    write("idx", "huge_extents_gzip", pack(labels, gzip.compress(idx([6, 16384, 16384], bytes(100)), mtime=0)))


def safetensors(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def safetensor_files():
    entry = lambda dtype, shape, begin, end: {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    write("safetensors", "two", safetensors({"a.weight": entry("F32", [2, 3], 0, 24), "b": entry("I64", [], 24, 32)}, bytes(range(32))))
    write("safetensors", "filters", safetensors({"conv": entry("BF16", [2, 3, 1, 2], 0, 24)}, bytes(range(24))))
    write("safetensors", "metadata", safetensors({"__metadata__": {"format": "pt", "k": "\u00e9\n"}, "x": entry("F16", [0], 0, 0)}))
    write("safetensors", "overlap", safetensors({"a": entry("U8", [4], 0, 4), "b": entry("U8", [4], 2, 6)}, bytes(6)))
    write("safetensors", "huge_shape", safetensors({"a": entry("F64", [1 << 40, 1 << 40], 0, 8)}, bytes(8)))
    write("safetensors", "deep_json", safetensors(b'{"a":' + b"[" * 200 + b"]" * 200 + b"}"))
    write("safetensors", "huge_header", struct.pack("<Q", 1 << 62) + b"{}")


def text(value):
    value = value.encode()
    return struct.pack("<Q", len(value)) + value


def index_file(classes, containers, entries, names, digest="0" * 32):
    out = b"LSINDEX\n" + struct.pack("<QQ", 1, 0)  # version; no stamps
    out += struct.pack("<Q", len(classes)) + b"".join(text(c) for c in classes)
    out += struct.pack("<Q", len(containers)) + b"".join(text(p) + struct.pack("<Q", archive) for p, archive in containers)
    out += struct.pack("<QQ", 3, 0) + text(digest)
    out += struct.pack("<Q", len(entries)) + b"".join(struct.pack("<QIIIi", *e) for e in entries)
    return out + text(names)


def indexes():
    entries = [(0, 100, 0, 0, 0), (512, 200, 5, 1, 0), (2048, 300, 10, 1, 1)]
    write("index", "three", index_file(["cat", "dog"], [("train/cat", 0), ("train.tar", 1)], entries, "a.jpgb.jpgc.png"))
    write("index", "label_out_of_range", index_file(["cat"], [("train/cat", 0)], [(0, 1, 0, 0, 7)], "a.jpg"))
    write("index", "name_out_of_range", index_file(["cat"], [("train/cat", 0)], [(0, 1, 600, 0, 0)], "a.jpg"))
    write("index", "huge_count", index_file(["cat"], [], [], "")[:24] + struct.pack("<Q", 1 << 60))


def configs():
    root = pathlib.Path(__file__).parents[2]
    write("config", "tiny", (root / "tests/tools/tiny.pbtxt").read_bytes())
    write("config", "escapes", b'name: "a\\n\\x41\\377\\u00e9" run_dir: \'x\' "y"\nmodel < name: "resnet18" >\n')
    write("config", "lists", b"data { mean: [0.1, 0.2, 0.3] std: 0.25 std: 0.25 std: 0.25 }\nbatch { global_batch: 0x20 shard_batch: 010 }\n")
    write("config", "numbers", b"epochs: 1e400 seed: 18446744073709551615 optimizer { momentum: nan weight_decay: -inf }\n")
    write("config", "deep", b"model {" * 60)
    write("config", "unknown", b"optimizer { momentun: 0.9 }\n[a.b] { x: 1 }\n")


def images():
    """Headers that claim too much: more than there is in tests/golden/images."""
    import zlib

    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    magic = b"\x89PNG\r\n\x1a\n"
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 20, 20, 8, 2, 0, 0, 0))
    rows = zlib.compress(b"\0" + bytes(60) * 20)
    write("image", "chunk_longer_than_the_file.png", magic + header + struct.pack(">I", 0x7FFFFFFF) + b"tEXtcomment\0text")
    write("image", "text.png", magic + header + chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(4096))) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    write("image", "huge_header.png", magic + chunk(b"IHDR", struct.pack(">IIBBBBB", 0x7FFFFFFF, 0x7FFFFFFF, 16, 6, 0, 0, 1)) + chunk(b"IEND", b""))


if __name__ == "__main__":
    for make in (tars, idxs, safetensor_files, indexes, configs, images):
        make()
