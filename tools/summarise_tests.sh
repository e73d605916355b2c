#!/usr/bin/env bash
# summarise_tests.sh RESULTS BROKEN: counts test cases in GoogleTest's XML reports and ctest's logs, names skips and
# failures, and ends with "N passed, N failed, N skipped". Exits with 1 if anything failed or nothing ran.
# A test program that died before it wrote its report counts as one failure.
# SPDX-License-Identifier: Apache-2.0
set -uo pipefail
results=$1
failed=$2
passed=0
skipped=0
for folder in "$results"/*/; do
  preset=$(basename "$folder")
  cases=$(cat "$folder"*.xml 2>/dev/null | tr '\n' ' ' | sed 's/<testcase/\n<testcase/g' | grep '^<testcase' || true)
  bad=$(grep '<failure' <<<"$cases" || true)
  skips=$(grep -v '<failure' <<<"$cases" | grep 'result="skipped"' || true)
  [[ -z $bad ]] || { sed -E 's/.* name="([^"]*)".* classname="([^"]*)".*/\2.\1/' <<<"$bad" | sed "s/^/  FAILED ($preset): /"; failed=$((failed + $(wc -l <<<"$bad"))); }
  [[ -z $skips ]] || { sed -E 's/.* name="([^"]*)".* classname="([^"]*)".*message="([^"]*)".*/\2.\1: \3/' <<<"$skips" | cut -c1-200 | sed "s/^/  skipped ($preset): /"; skipped=$((skipped + $(wc -l <<<"$skips"))); }
  passed=$((passed + $(grep -v '<failure' <<<"$cases" | grep -c 'result="completed"' || true)))
  # Programs that ctest calls failed although their report (if any) shows no failed case: crashes, time-outs, non-zero exits.
  while read -r program; do
    [[ -n $program ]] || continue
    if [[ -f $folder$program.xml ]] && grep -q '<failure' "$folder$program.xml"; then continue; fi
    echo "  FAILED ($preset): $program (crashed, timed out or exited with an error; see $folder)"
    failed=$((failed + 1))
  done < <(grep -E '^ *[0-9]+/[0-9]+ Test.*\*\*\*' "$folder/console.log" 2>/dev/null | sed -E 's/.*: ([A-Za-z0-9_]+) \.*\*\*\*.*/\1/')
done
echo "$passed passed, $failed failed, $skipped skipped"
[[ $failed -eq 0 && $passed -gt 0 ]]
