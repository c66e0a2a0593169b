// The parties of the load: each is what a process of its own does. They are told what to do, and tell what they found, in lines.
#pragma once

#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "federation_load.h"
#include "net/roster.h"
#include "net/tls.h"

namespace fedalt::bench {

/// Everybody's keys. The sites with the places of Uploaders() upload; the others are idle, and the last place is that of the site
/// that measures how long a call takes.
struct Keys {
  Roster roster;
  TlsIdentity server;
  std::vector<TlsIdentity> sites;
};
Keys MakeKeys(int64_t sites);

/// Places of the round's cohort, ascending.
std::vector<int64_t> Uploaders(const Load& load);

/// Both ends of a conversation with the process that started this one.
struct Lines {
  FILE* from = nullptr;
  FILE* to = nullptr;
  std::string Read() const;  ///< empty: the other end is gone
  void Write(const std::string& line) const;
};

/// Writes its port, and when the round is closed the seconds of round and aggregation. Ends after a line.
void BeServer(const Load& load, const Keys& keys, const std::filesystem::path& directory, const Lines& lines);
/// After a line with the port all of them dial; writes a line when they wait in Poll, and one with the number of failures when the
/// run has ended.
void BeIdle(const Load& load, const Keys& keys, const Lines& lines);
/// After a line with the port these sites enrol and upload; writes failures and repeated calls.
void BeUploaders(const Load& load, const Keys& keys, const std::vector<int64_t>& places, const Lines& lines);
/// After a line with the port asks for the run's state again and again until the round is closed; writes the median and the
/// greatest of the times in milliseconds.
void BeProber(const Keys& keys, const Lines& lines);
/// Writes the seconds, and those of the processor, that the same bytes take without network.
void BeCopy(const Load& load, const std::filesystem::path& directory, const Lines& lines);

}  // namespace fedalt::bench
