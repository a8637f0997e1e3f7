"""Writes a GGUF version 3 file: header, typed metadata, tensor table, aligned tensor data (F32 or Q4_0)."""
import struct

import torch

ALIGNMENT = 32
F32, Q4_0 = 0, 2
FILE_TYPE = {F32: 0, Q4_0: 2}
UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
SCALAR = {UINT32: "<I", INT32: "<i", FLOAT32: "<f", BOOL: "<?"}


def string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def value(kind, item):
    return string(item) if kind == STRING else struct.pack(SCALAR[kind], item)


def entry(key, kind, item):
    """One metadata entry; a list is written as an array of `kind`."""
    if isinstance(item, list):
        return string(key) + struct.pack("<IIQ", ARRAY, kind, len(item)) + b"".join(value(kind, i) for i in item)
    return string(key) + struct.pack("<I", kind) + value(kind, item)


def pack_q4_0(weight):
    """Per 32 values: a float16 step, then 16 bytes; byte i holds value i in its low half and value i + 16 in its high half."""
    blocks = weight.reshape(-1, 32)
    extreme = blocks.gather(1, blocks.abs().argmax(1, keepdim=True))
    step = (extreme / -8).to(torch.float16)
    wide = step.to(torch.float32)
    inverse = torch.where(wide == 0, torch.zeros_like(wide), 1 / wide)
    levels = torch.floor(blocks * inverse + 8.5).clamp(0, 15).to(torch.uint8)
    packed = levels[:, :16] | (levels[:, 16:] << 4)
    return torch.cat((step.view(torch.uint8).reshape(-1, 2), packed), 1).numpy().tobytes()


def write(path, metadata, tensors):
    """metadata: [(key, kind, value)]; tensors: [(name, tensor, type)]. Returns the number of bytes."""
    table, data = b"", b""
    for name, tensor, kind in tensors:
        data += bytes(-len(data) % ALIGNMENT)
        shape = list(reversed(tensor.shape))  # GGUF names the fastest-moving dimension first
        table += string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, len(data))
        data += pack_q4_0(tensor) if kind == Q4_0 else tensor.contiguous().to(torch.float32).numpy().tobytes()
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata)) + b"".join(entry(*m) for m in metadata) + table
    head += bytes(-len(head) % ALIGNMENT)
    data += bytes(-len(data) % ALIGNMENT)
    path.write_bytes(head + data)
    return len(head) + len(data)
