"""Repairs requests with invalid UTF-8: the slow way in for messages protobuf refuses because of one bad string."""

from __future__ import annotations

from functools import lru_cache

from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass


def replace_invalid_utf8(payload: bytes, descriptor: Descriptor) -> tuple[bytes, int] | None:
    """The message with every invalid sequence in its strings as U+FFFD, and the number of strings changed.

    None when the message is malformed in another way, or its strings are fine.
    """
    try:
        message = _bytes_twin(descriptor).FromString(payload)
    except DecodeError:
        return None
    repaired = _repair(message, descriptor)
    return (message.SerializeToString(), repaired) if repaired else None


@lru_cache
def _bytes_twin(descriptor: Descriptor) -> type[Message]:
    """The same message with bytes for strings: equal on the wire, but never refused."""
    pool = DescriptorPool()
    _add_file(pool, descriptor.file, set())
    twin: type[Message] = GetMessageClass(pool.FindMessageTypeByName(descriptor.full_name))
    return twin


def _add_file(pool: DescriptorPool, file: FileDescriptor, added: set[str]) -> None:
    if file.name in added:
        return
    added.add(file.name)
    for dependency in file.dependencies:
        _add_file(pool, dependency, added)
    proto = FileDescriptorProto()
    file.CopyToProto(proto)
    for message in proto.message_type:
        _strings_to_bytes(message)
    pool.Add(proto)


def _strings_to_bytes(message: DescriptorProto) -> None:
    for field in message.field:
        if field.type == FieldDescriptorProto.TYPE_STRING:
            field.type = FieldDescriptorProto.TYPE_BYTES
    for nested in message.nested_type:
        _strings_to_bytes(nested)


def _repair(message: Message, original: Descriptor) -> int:
    repaired = 0
    for twin, value in message.ListFields():
        field = original.fields_by_number[twin.number]
        if field.message_type is not None:
            children = value if field.is_repeated else [value]
            repaired += sum(_repair(child, field.message_type) for child in children)
        elif field.type == FieldDescriptor.TYPE_STRING:
            if field.is_repeated:
                fixed = [_valid(item) for item in value]
                repaired += sum(new != old for new, old in zip(fixed, value, strict=True))
                value[:] = fixed
            else:
                fixed_one = _valid(value)
                repaired += fixed_one != value
                setattr(message, twin.name, fixed_one)
    return repaired


def _valid(text: bytes) -> bytes:
    return text.decode("utf-8", "replace").encode()
