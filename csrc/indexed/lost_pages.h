// Reading a mapped file that was cut off under the process raises SIGBUS. Here it becomes an error that names the file.
#pragma once

#include <cstdint>
#include <string>

namespace indexed {

// What a mapping is registered as; never freed, since a signal may look at it at any time, but used again.
struct Mapping;

// From now on a fault in [data, data + bytes) is one of the file at the path. Installs the handler at the first call; a
// fault elsewhere goes on to the handler that was there before.
Mapping* watch_mapping(const char* data, uint64_t bytes, const std::string& path);
void forget_mapping(Mapping* mapping);

// In a thread that is guarded, lost pages read as zeros, and damaged() is true from then on; the reader asks for that
// before it uses what it has read. In any other the process says the file's name and ends with status 2.
void guard_thread(bool on);
bool damaged(const Mapping* mapping);

// Pages that guarded threads have missed in this process: while it is 0 there is no need to ask for each file.
uint64_t lost_pages();

}  // namespace indexed
