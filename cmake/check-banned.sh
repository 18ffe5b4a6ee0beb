#!/bin/bash
# Looks for calls that our sources must not make. A line that has a good reason says so on itself: /* banned-ok: the reason */.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

# name|why, or what instead. A name is matched as a whole word before an opening parenthesis, outside of comments and strings.
BANNED='
strcpy|memcpy with a checked length, or base/text.h
strncpy|pads and does not end; base/text.h
strcat|snprintf, or base/buffer.h
strncat|snprintf, or base/buffer.h
sprintf|snprintf
vsprintf|vsnprintf
gets|fgets
strtok|keeps state between calls; strcspn and strspn
atoi|no errors; strtol with a range check
atol|no errors; strtol with a range check
atoll|no errors; strtoll with a range check
atof|no errors; strtod
scanf|strtol and the like
sscanf|strtol and the like
alloca|the heap
_alloca|the heap
tmpnam|a name of its own in the state folder
mktemp|mkstemp
system|CreateProcessW
wcscpy|memcpy with a checked length, or base/text.h
wcsncpy|pads and does not end; base/text.h
wcscat|swprintf with a count
wcsncat|swprintf with a count
wsprintfW|swprintf with a count
wsprintfA|snprintf
lstrcpyW|memcpy with a checked length
lstrcatW|swprintf with a count
lstrcpyA|memcpy with a checked length
_wtoi|wcstol with a range check
wcstok|wcscspn and wcsspn
TerminateThread|leaves locks held; abandon the thread or end the process
SuspendThread|leaves locks held
ExitThread|return from the thread function
Sleep|wait for something, with a bound
SleepEx|wait for something, with a bound
usleep|wait for something, with a bound
sleep|wait for something, with a bound
LoadLibraryA|the W form, with a full path or LOAD_LIBRARY_SEARCH_SYSTEM32
GetTempFileNameW|a name of its own in the state folder
IsBadReadPtr|never
IsBadWritePtr|never
'

mapfile -d '' -t files < <(git ls-files -z --cached --others --exclude-standard -- 'lib/**.[ch]' 'daemon/**.[ch]' 'daemon/**.cc' \
    'service/**.[ch]' 'cli/**.[ch]' 'tests/**.[ch]' 'tests/**.cc')
existing=()
for file in "${files[@]}"; do
    if [[ -f $file ]]; then existing+=("$file"); fi
done
[[ ${#existing[@]} -gt 0 ]] || exit 0

BANNED=$BANNED exec python3 - "${existing[@]}" <<'PYTHON'
import os, re, sys

banned = dict(line.split('|', 1) for line in os.environ['BANNED'].split('\n') if line)
call = re.compile(r'(?<![\w.>])(' + '|'.join(map(re.escape, banned)) + r')\s*\(')
# Comments and literals, kept apart from code; line ends stay, so that line numbers do.
foreign = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
found = 0
for path in sys.argv[1:]:
    text = open(path, encoding='utf-8').read()
    lines = text.split('\n')
    code = foreign.sub(lambda match: '\n' * match.group().count('\n') or ' ', text)
    for number, line in enumerate(code.split('\n'), 1):
        for match in call.finditer(line):
            if re.search(r'banned-ok:\s*\S', lines[number - 1]):
                continue
            found += 1
            print(f'{path}:{number}: {match.group(1)}: {banned[match.group(1)]}')
if found:
    print(f'{found} banned calls; a line that has a good reason says so: /* banned-ok: reason */')
sys.exit(1 if found else 0)
PYTHON
