"""`python -m words FOLDER`: one line per word, then the total."""

import sys
from pathlib import Path

from words import count

counted = count(Path(sys.argv[1]))
for word, times in counted.most_common():
    print(f"{times:5} {word}")
print(sum(counted.values()))
