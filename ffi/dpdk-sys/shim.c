/* Symbols for DPDK's static inlines. No logic: each function is one call. */
#include "shim.h"

#include <dlfcn.h>
#include <stdarg.h>

uint16_t weir_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **frames, uint16_t count)
{
	return rte_eth_rx_burst(port, queue, frames, count);
}

uint16_t weir_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **frames, uint16_t count)
{
	return rte_eth_tx_burst(port, queue, frames, count);
}

int weir_mbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **frames, unsigned int count)
{
	return rte_pktmbuf_alloc_bulk(pool, frames, count);
}

uint64_t weir_rdtsc(void)
{
	return rte_rdtsc();
}

struct rte_mbuf *weir_mbuf_alloc(struct rte_mempool *pool)
{
	return rte_pktmbuf_alloc(pool);
}

void weir_mbuf_free(struct rte_mbuf *frame)
{
	rte_pktmbuf_free(frame);
}

void weir_mbuf_free_segment(struct rte_mbuf *segment)
{
	rte_pktmbuf_free_seg(segment);
}

int weir_errno(void)
{
	return rte_errno;
}

int weir_link(uint16_t port, uint32_t *speed_mbps, int *up)
{
	struct rte_eth_link link = {0};
	int result = rte_eth_link_get_nowait(port, &link);

	*speed_mbps = link.link_speed == RTE_ETH_SPEED_NUM_UNKNOWN ? 0 : link.link_speed;
	*up = link.link_status == RTE_ETH_LINK_UP;
	return result;
}

size_t weir_mbuf_layout(size_t *offsets, size_t *sizes, size_t count)
{
#define OFFSET(upper, lower) offsetof(struct rte_mbuf, lower),
#define SIZE(upper, lower) sizeof(((struct rte_mbuf *)0)->lower),
	static const size_t all_offsets[] = {WEIR_MBUF_FIELDS(OFFSET)};
	static const size_t all_sizes[] = {WEIR_MBUF_FIELDS(SIZE)};
	size_t total = RTE_DIM(all_offsets);

	for (size_t i = 0; i < total && i < count; i++) {
		offsets[i] = all_offsets[i];
		sizes[i] = all_sizes[i];
	}
	return total;
}

void weir_conf_rss(struct rte_eth_conf *conf, uint8_t *key, uint8_t key_len, uint64_t hash_fields)
{
	conf->rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
	conf->rx_adv_conf.rss_conf.rss_key = key;
	conf->rx_adv_conf.rss_conf.rss_key_len = key_len;
	conf->rx_adv_conf.rss_conf.rss_hf = hash_fields;
}

/* Both libraries number their levels alike: 0 is a warning, more is chatter. */
static int library_print(int level, const char *format, va_list arguments)
{
	return level > 0 ? 0 : rte_vlog(RTE_LOG_WARNING, RTE_LOGTYPE_EAL, format, arguments);
}

void weir_library_log(const char *library, const char *setter)
{
	typedef int (*printer)(int level, const char *format, va_list arguments);
	void *handle = dlopen(library, RTLD_LAZY | RTLD_NOLOAD);
	printer (*set)(printer) = handle ? (printer(*)(printer))dlsym(handle, setter) : NULL;

	if (set)
		set(library_print);
}
