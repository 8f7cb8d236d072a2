#!/usr/bin/env bash
# Installs the Autobahn|Testsuite into a folder, once: everything pinned, nothing outside of the folder.
#
#     tests/autobahn/setup.sh FOLDER
#
# The suite runs on Python 2.7 only, from PATH or from pyenv. Exit 3: there is none. Its source distribution lacks the file
# that its installer reads its requirements from, so they are installed first, from the list beside it.

set -eu -o pipefail
folder=${1:?usage: tests/autobahn/setup.sh FOLDER}

SUITE=25.10.1
# The last one that makes environments for Python 2.7.
VIRTUALENV=20.21.1

python27() {
    local candidate
    for candidate in "$(command -v python2.7)" "$(pyenv root 2>/dev/null)"/versions/2.7.*/bin/python; do
        # A shim of pyenv is there even where the version is not.
        if "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (2, 7))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

python=$(python27) || exit 3
mark=$folder/installed-$SUITE
[ -e "$mark" ] && exit 0
echo "installing autobahntestsuite $SUITE into $folder, for $python"
rm -rf "$folder"
mkdir -p "$folder"
# pip takes a folder for one only by a whole path.
folder=$(cd "$folder" && pwd)
python3 -m venv "$folder/boot"
pip=("$folder/boot/bin/pip" --quiet --disable-pip-version-check)
"${pip[@]}" install "virtualenv==$VIRTUALENV"
"$folder/boot/bin/virtualenv" --quiet --python "$python" "$folder/py27"
"${pip[@]}" download --no-deps --no-binary :all: "autobahntestsuite==$SUITE" --dest "$folder"
tar -xzf "$folder/autobahntestsuite-$SUITE.tar.gz" -C "$folder"
source=$folder/autobahntestsuite-$SUITE
pip27=("$folder/py27/bin/pip" --quiet --disable-pip-version-check --no-python-version-warning)
"${pip27[@]}" install -r "$source/autobahntestsuite.egg-info/requires.txt"
"${pip27[@]}" install --no-deps --no-build-isolation "$source"
"$folder/py27/bin/wstest" --autobahnversion
touch "$mark"
