/*
 * What Rust sees of DPDK.
 *
 * DPDK's packet-path calls are static inlines, which have no symbol to link with; shim.c gives
 * each one that Weir needs a symbol, at burst granularity, so that a call costs nanoseconds per
 * burst and not per frame. Constants are repeated here as typed values, because DPDK writes
 * them as macros, enums or casts depending on the release. The names are those of 22.11 and
 * later; nothing here was removed in 23.11 or 24.11.
 */
#ifndef WEIR_SHIM_H
#define WEIR_SHIM_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <net/if.h>

#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_mbuf_pool_ops.h>
#include <rte_mempool.h>
#include <rte_version.h>
#ifdef WEIR_HASH
#include <rte_hash.h>
#endif

/* Per burst. */
uint16_t weir_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **frames, uint16_t count);
uint16_t weir_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **frames, uint16_t count);
int weir_mbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **frames, unsigned int count);
uint64_t weir_rdtsc(void);

/* Once per frame, and only on the slow path. */
struct rte_mbuf *weir_mbuf_alloc(struct rte_mempool *pool);
void weir_mbuf_free(struct rte_mbuf *frame);
void weir_mbuf_free_segment(struct rte_mbuf *segment);

/* Control path. */
int weir_errno(void);
/* Speed in Mbit/s, 0 where the driver does not know it. */
int weir_link(uint16_t port, uint32_t *speed_mbps, int *up);

/*
 * Sends what libbpf or libxdp would print into DPDK's log. `library` is the name it was loaded
 * by, `setter` its function that takes a printer. Nothing happens if it is not loaded.
 */
void weir_library_log(const char *library, const char *setter);

/*
 * Where the fields of `struct rte_mbuf` are. The struct's anonymous nesting differs between
 * releases, so Rust treats it as opaque and reads fields at these offsets.
 */
#define WEIR_MBUF_FIELDS(FIELD) \
	FIELD(BUF_ADDR, buf_addr)   \
	FIELD(DATA_OFF, data_off)   \
	FIELD(REFCNT, refcnt)       \
	FIELD(NB_SEGS, nb_segs)     \
	FIELD(PORT, port)           \
	FIELD(OL_FLAGS, ol_flags)   \
	FIELD(PKT_LEN, pkt_len)     \
	FIELD(DATA_LEN, data_len)   \
	FIELD(HASH, hash)           \
	FIELD(BUF_LEN, buf_len)     \
	FIELD(POOL, pool)           \
	FIELD(NEXT, next)

/* clang-format off */
enum weir_mbuf_offset {
#define WEIR_OFFSET(upper, lower) WEIR_MBUF_##upper = offsetof(struct rte_mbuf, lower),
	WEIR_MBUF_FIELDS(WEIR_OFFSET)
#undef WEIR_OFFSET
};
enum weir_mbuf_size {
#define WEIR_SIZE(upper, lower) WEIR_MBUF_##upper##_SIZE = sizeof(((struct rte_mbuf *)0)->lower),
	WEIR_MBUF_FIELDS(WEIR_SIZE)
#undef WEIR_SIZE
};
/* clang-format on */

/* Fills `offsets` and `sizes` in the order of WEIR_MBUF_FIELDS as the C compiler of shim.c sees
 * them, which may be another compiler than bindgen's. Returns how many fields there are. */
size_t weir_mbuf_layout(size_t *offsets, size_t *sizes, size_t count);

static const uint64_t WEIR_RX_RSS_HASH = RTE_MBUF_F_RX_RSS_HASH;
static const uint64_t WEIR_RX_IP_CKSUM_MASK = RTE_MBUF_F_RX_IP_CKSUM_MASK;
static const uint64_t WEIR_RX_IP_CKSUM_BAD = RTE_MBUF_F_RX_IP_CKSUM_BAD;
static const uint64_t WEIR_RX_IP_CKSUM_GOOD = RTE_MBUF_F_RX_IP_CKSUM_GOOD;
static const uint64_t WEIR_RX_L4_CKSUM_MASK = RTE_MBUF_F_RX_L4_CKSUM_MASK;
static const uint64_t WEIR_RX_L4_CKSUM_BAD = RTE_MBUF_F_RX_L4_CKSUM_BAD;
static const uint64_t WEIR_RX_L4_CKSUM_GOOD = RTE_MBUF_F_RX_L4_CKSUM_GOOD;

static const uint64_t WEIR_RX_OFFLOAD_IPV4_CKSUM = RTE_ETH_RX_OFFLOAD_IPV4_CKSUM;
static const uint64_t WEIR_RX_OFFLOAD_UDP_CKSUM = RTE_ETH_RX_OFFLOAD_UDP_CKSUM;
static const uint64_t WEIR_RX_OFFLOAD_TCP_CKSUM = RTE_ETH_RX_OFFLOAD_TCP_CKSUM;
static const uint64_t WEIR_RX_OFFLOAD_SCATTER = RTE_ETH_RX_OFFLOAD_SCATTER;
static const uint64_t WEIR_RX_OFFLOAD_RSS_HASH = RTE_ETH_RX_OFFLOAD_RSS_HASH;
static const uint64_t WEIR_TX_OFFLOAD_MULTI_SEGS = RTE_ETH_TX_OFFLOAD_MULTI_SEGS;

static const uint64_t WEIR_RSS_IP = RTE_ETH_RSS_IP;
static const uint64_t WEIR_RSS_TCP = RTE_ETH_RSS_TCP;
static const uint64_t WEIR_RSS_UDP = RTE_ETH_RSS_UDP;
static const uint64_t WEIR_RSS_L3_SRC_ONLY = RTE_ETH_RSS_L3_SRC_ONLY;
static const uint64_t WEIR_RSS_L3_DST_ONLY = RTE_ETH_RSS_L3_DST_ONLY;
static const uint64_t WEIR_RSS_L4_SRC_ONLY = RTE_ETH_RSS_L4_SRC_ONLY;
static const uint64_t WEIR_RSS_L4_DST_ONLY = RTE_ETH_RSS_L4_DST_ONLY;

static const uint32_t WEIR_HEADROOM = RTE_PKTMBUF_HEADROOM;
static const uint16_t WEIR_PORTS_MAX = RTE_MAX_ETHPORTS;
static const uint32_t WEIR_MBUF_SIZE = sizeof(struct rte_mbuf);
static const uint32_t WEIR_MEMPOOL_NO_IOVA_CONTIG = RTE_MEMPOOL_F_NO_IOVA_CONTIG;
static const int WEIR_SOCKET_ANY = SOCKET_ID_ANY;

/* Sets `conf` to spread frames over the receive queues by RSS. */
void weir_conf_rss(struct rte_eth_conf *conf, uint8_t *key, uint8_t key_len, uint64_t hash_fields);

#endif
