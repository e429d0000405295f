// What this module shares with others, compiled into it: the kinds of characters, and the reader of JSON lines.
#include "jsonl/scan.cpp"
#include "minhash/units.cpp"
