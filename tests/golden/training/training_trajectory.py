#!/usr/bin/env python3
"""Makes training_trajectory.txt: 20 steps in float64 with what recipes are made of, by PyTorch's and timm's own arithmetic.

  python3 tests/golden/training/training_trajectory.py > tests/golden/training/training_trajectory.txt
  (PyTorch 2.13, timm 1.0.31)

LARS (timm.optim.Lars), averages of weights and buffers (timm.utils.ModelEmaV3), mixup and CutMix with soft labels (timm.data.mixup,
timm.loss), label smoothing, and every schedule (torch.optim.lr_scheduler, timm.scheduler). tests/train/training_trajectory_test.cpp
repeats it. One line per result: a key, then numbers. Weights, bytes of images and labels come from one formula on both sides.
"""
# SPDX-License-Identifier: Apache-2.0
import math
import pathlib
import sys

import numpy as np
import timm
import torch
from timm.data.mixup import cutmix_bbox_and_lam, mixup_target
from timm.loss import SoftTargetCrossEntropy
from timm.optim import Lars
from timm.scheduler import PolyLRScheduler
from timm.utils import ModelEmaV3
from torch.optim import lr_scheduler

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from resnet_trajectory import DIRECTIONS, IMAGES, LABELS, STEPS, SmallResNet, bits, record, set_weights, signed  # noqa: E402

CLASSES, IMAGE = 4, (8, 3, 16, 16)
PERTURBATION = 2.0**-34  # largest relative change of a weight, from which each run's amplification of errors is measured


def batch(step):
    """Bytes of images in logical order, as the loader brings them, normalised by mean 0.5 and deviation 0.25; labels."""
    pixels = (bits(IMAGES + step, math.prod(IMAGE)) >> np.uint64(56)).astype(np.float64)
    labels = (bits(LABELS + step, IMAGE[0]) % np.uint64(CLASSES)).astype(np.int64)
    return (torch.from_numpy(pixels).reshape(IMAGE) / 255 - 0.5) * 4, torch.from_numpy(labels)


def draw_mixes(kind):
    """Per step (weight, box): a mixup with a float32 weight, or a CutMix whose weight is corrected to the box; both: in turn."""
    generator = np.random.default_rng(5)
    np.random.seed(5)  # of timm's rand_bbox
    mixes = []
    for step in range(STEPS):
        weight = float(np.float32(generator.beta(0.4, 0.4)))
        if kind == "mixup" or (kind == "both" and step % 2 == 0):
            mixes.append((weight, None))
        else:
            box, weight = cutmix_bbox_and_lam(IMAGE, weight)
            mixes.append((weight, box))
    return mixes


def mixed(x, labels, mix, smoothing):
    """timm's Mixup in batch mode, with the draw given."""
    if mix is None:
        return x, mixup_target(labels, CLASSES, 1.0, smoothing)
    weight, box = mix
    if box is None:
        x = x * weight + x.flip(0) * (1 - weight)
    else:
        top, bottom, left, right = box
        x = x.clone()
        x[:, :, top:bottom, left:right] = x.flip(0)[:, :, top:bottom, left:right]
    return x, mixup_target(labels, CLASSES, weight, smoothing)


def train(lr, make_optimizer, mixes, smoothing, clip_norm, ema_decay, ema_every, ema_warmup, perturbation):
    model = SmallResNet([1, 1, 1], 8, CLASSES, False).double().train()
    set_weights(model)
    with torch.no_grad():
        for i, p in enumerate(model.parameters()):
            p.mul_(1 + perturbation * signed(DIRECTIONS + i, p.shape))
    groups = [{"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": 1e-3},
              {"params": [p for p in model.parameters() if p.dim() == 1], "weight_decay": 0.0}]
    optimizer, criterion = make_optimizer(groups), SoftTargetCrossEntropy()
    ema = ModelEmaV3(model, decay=ema_decay)
    losses = []
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = lr * (1 - step / STEPS)
        x, target = mixed(*batch(step), None if mixes is None else mixes[step], smoothing)
        loss = criterion(model(x), target)
        optimizer.zero_grad()
        loss.backward()
        norm = math.sqrt(sum((p.grad * p.grad).sum().item() for p in model.parameters()))
        if clip_norm and norm > clip_norm:  # torch's clip_grad_norm_ adds 1e-6 to the norm: not this definition
            for p in model.parameters():
                p.grad.mul_(clip_norm / norm)
        optimizer.step()
        if (step + 1) % ema_every == 0:
            n = (step + 1) // ema_every - 1
            ema.decay = min(ema_decay, (1 + n) / (10 + n)) if ema_warmup else ema_decay  # TensorFlow's warm-up
            ema.update(model)
        losses.append(loss.item())
    of = lambda m: torch.cat([p.detach().flatten() for p in m.parameters()] + [b.flatten() for n, b in m.named_buffers() if "running" in n])
    tensors = lambda m: [p.detach() for p in m.parameters()] + [b for n, b in m.named_buffers() if "running" in n]
    squares = lambda m: [(t * t).sum().item() for t in tensors(m)]
    sums = lambda m: [t.sum().item() for t in tensors(m)]
    return {"losses": losses, "sums": sums(model), "square_sums": squares(model), "average_sums": sums(ema.module),
            "average_square_sums": squares(ema.module)}, of(model)


def trajectory(key, lr, make_optimizer, mixes=None, smoothing=0.0, clip_norm=0.0, ema_decay=0.9, ema_every=1, ema_warmup=False):
    arguments = (lr, make_optimizer, mixes, smoothing, clip_norm, ema_decay, ema_every, ema_warmup)
    results, state = train(*arguments, 0.0)
    moved, moved_state = train(*arguments, PERTURBATION)
    largest = max(abs(a - b) / abs(a) for a, b in zip(results["losses"], moved["losses"]))
    largest = max(largest, ((state - moved_state).norm() / state.norm()).item())
    for name, values in results.items():
        record(f"{key}.{name}", values)
    record(f"{key}.amplification", [largest / PERTURBATION])
    for name, column in (("weights", [weight for weight, _ in mixes or []]),
                         ("boxes", [int(edge) for _, box in mixes or [] for edge in (box or (0, 0, 0, 0))])):
        if mixes:
            record(f"{key}.{name}", column)


def lars(nesterov):
    return lambda groups: Lars(groups, lr=1.0, momentum=0.9, nesterov=nesterov, trust_coeff=0.02, eps=1e-6)


def sgd(groups):
    return torch.optim.SGD(groups, lr=1.0, momentum=0.9)


def rates(key, make, base=0.5):
    """The rate of each of 20 steps (5 an epoch, 4 epochs)."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=base)
    scheduler, values = make(optimizer), []
    for step in range(STEPS):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step(step + 1) if isinstance(scheduler, PolyLRScheduler) else scheduler.step()
    record(f"schedule.{key}", values)


def with_warmup(optimizer, make_after, steps=5, start=0.2):
    first = lr_scheduler.LinearLR(optimizer, start_factor=start, total_iters=steps)
    return lr_scheduler.SequentialLR(optimizer, [first, make_after(optimizer)], milestones=[steps])


def schedules():
    rates("constant", lambda o: with_warmup(o, lambda o: lr_scheduler.ConstantLR(o, factor=1.0)))
    rates("step", lambda o: lr_scheduler.StepLR(o, step_size=5, gamma=0.3))
    rates("multistep", lambda o: lr_scheduler.MultiStepLR(o, milestones=[6, 15], gamma=0.1))
    rates("cosine", lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=STEPS, eta_min=0.05))
    rates("cosine_warmup", lambda o: with_warmup(o, lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=STEPS - 5)))
    rates("poly", lambda o: lr_scheduler.PolynomialLR(o, total_iters=STEPS, power=2))
    rates("poly_warmup", lambda o: PolyLRScheduler(o, t_initial=STEPS - 5, power=2, lr_min=0.05, warmup_t=5, warmup_lr_init=0.1,
                                                   warmup_prefix=True))
    rates("linear", lambda o: lr_scheduler.LinearLR(o, start_factor=1.0, end_factor=0.1, total_iters=STEPS))
    # torch's last step has the end's rate, ours is one step before it: so one step more, and the peak where ours is.
    rates("one_cycle", lambda o: lr_scheduler.OneCycleLR(o, max_lr=0.5, total_steps=STEPS + 1, pct_start=(5 + 1) / (STEPS + 1), div_factor=25,
                                                         final_div_factor=0.04 / 0.01, cycle_momentum=False))


def main():
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)  # timm's targets take the default
    print(f"# PyTorch {torch.__version__.split('+')[0]}, timm {timm.__version__}, float64, CPU")
    trajectory("lars", 1.0, lars(False))
    trajectory("lars_nesterov_clipped", 1.0, lars(True), clip_norm=0.5, ema_every=3)
    trajectory("mixup", 0.05, sgd, draw_mixes("mixup"), smoothing=0.1, ema_warmup=True)
    trajectory("cutmix", 0.05, sgd, draw_mixes("cutmix"), ema_every=2, ema_warmup=True)
    trajectory("recipe", 1.0, lars(False), draw_mixes("both"), smoothing=0.1)
    schedules()


if __name__ == "__main__":
    main()
