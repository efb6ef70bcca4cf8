// IP addresses, ours and the system's. Invariant: what is neither IPv4 nor IPv6 is no address.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>

#include "../cm.h"

namespace onepiece::rdmacm {

inline bool ToSocket(const CmAddress& from, sockaddr_storage* out) {
  memset(out, 0, sizeof(*out));
  if (from.port > UINT16_MAX) return false;
  const uint16_t port = htons(static_cast<uint16_t>(from.port));
  if (from.family == 4) {
    auto& ipv4 = *reinterpret_cast<sockaddr_in*>(out);
    ipv4.sin_family = AF_INET;
    ipv4.sin_port = port;
    memcpy(&ipv4.sin_addr, from.bytes, sizeof(ipv4.sin_addr));
    return true;
  }
  if (from.family == 6) {
    auto& ipv6 = *reinterpret_cast<sockaddr_in6*>(out);
    ipv6.sin6_family = AF_INET6;
    ipv6.sin6_port = port;
    ipv6.sin6_scope_id = from.scope;
    memcpy(&ipv6.sin6_addr, from.bytes, sizeof(ipv6.sin6_addr));
    return true;
  }
  return false;
}

inline CmAddress FromSocket(const sockaddr_storage& from) {
  CmAddress out;
  if (from.ss_family == AF_INET) {
    const auto& ipv4 = reinterpret_cast<const sockaddr_in&>(from);
    out.family = 4;
    out.port = ntohs(ipv4.sin_port);
    memcpy(out.bytes, &ipv4.sin_addr, sizeof(ipv4.sin_addr));
  } else if (from.ss_family == AF_INET6) {
    const auto& ipv6 = reinterpret_cast<const sockaddr_in6&>(from);
    out.family = 6;
    out.port = ntohs(ipv6.sin6_port);
    out.scope = ipv6.sin6_scope_id;
    memcpy(out.bytes, &ipv6.sin6_addr, sizeof(ipv6.sin6_addr));
  }
  return out;
}

}  // namespace onepiece::rdmacm
