// The scanner of JSON lines is a part of this module too, so that texts go from a line to ids without a Python object.
#include "jsonl/scan.cpp"
