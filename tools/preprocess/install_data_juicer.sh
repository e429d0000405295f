#!/usr/bin/env bash
# Makes a virtual environment with data-juicer, apart from everything else:
#   bash tools/preprocess/install_data_juicer.sh DIR
# Then: steel clean --engine data-juicer --data-juicer DIR ...
# PYTHON names the interpreter (default python3); RAY=1 adds Ray for data-juicer's Ray mode.
set -euo pipefail
dir=${1:?usage: install_data_juicer.sh DIR}
"${PYTHON:-python3}" -m venv "$dir"
pip="$dir/bin/python -m pip --disable-pip-version-check"

# data-juicer installs what an operation lacks while it runs, torch in its CUDA build among it, and does not start
# without aiohttp, which it does not ask for. Hence all of it is here before the first run.
$pip install "torch==${TORCH_VERSION:-2.13.0}"
$pip install py-data-juicer==1.6.1 aiohttp==3.14.5 ftfy==6.3.1 opencc==1.1.8 selectolax==1.0.2 simhash-pybind==0.0.3
if [[ ${RAY:-0} == 1 ]]; then
  $pip install "ray[default]==2.60.0"
fi
"$dir/bin/dj-process" --help > /dev/null
echo "data-juicer is in $dir"
