# Prints what the real TensorBoard reads from the event files in a folder: "tag step value" per scalar, then the texts.
# SPDX-License-Identifier: Apache-2.0
import sys

from tensorboard.backend.event_processing import event_accumulator

events = event_accumulator.EventAccumulator(sys.argv[1], size_guidance={"scalars": 0, "tensors": 0})
events.Reload()
for tag in sorted(events.Tags()["scalars"]):
    for event in events.Scalars(tag):
        print(tag, event.step, repr(event.value))
for tag in sorted(events.Tags()["tensors"]):
    for event in events.Tensors(tag):
        print("text", tag, event.step, event.tensor_proto.string_val[0].decode())
