#!/usr/bin/env bash
# Measures lockstep against PyTorch: both sides in turn, and the ratios as a table. See bench/compare.py --help.
#
#   bench/compare.sh --peer-python .peers/bin/python --cases fashion-2,cifar20-2
# SPDX-License-Identifier: Apache-2.0
exec python3 "$(dirname "${BASH_SOURCE[0]}")/compare.py" "$@"
