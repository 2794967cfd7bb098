//! The engine of one worker: what it remembers between bursts.
//!
//! The pipeline ([`Engine::run`]) is in [`crate::pipeline`]; here are start-up, expiry, table swaps
//! and the read-only views for people.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;
use std::sync::Arc;

use weir_wire::addr::{L4Port, Protocol};

use crate::adoption::Adoption;
use crate::counters::WorkerCounters;
use crate::family::Ip;
use crate::flow::tcp::{TcpState, Timeouts};
use crate::flow::{Ended, FlowEntry, FlowMemory, FlowState, FlowTable, HashKey};
use crate::fragment::table::FragmentTable;
use crate::id::{ServerId, ServiceId, WorkerId};
use crate::limits::{ANSWER_CLIENTS, ClientBuckets, FRAGMENTS, TokenBucket};
use crate::pipeline::Stage;
use crate::scheduler::SchedulerState;
use crate::tables::{AnswerLimits, Service, Tables};
use crate::time::Time;

/// What an engine needs to know at start.
#[derive(Clone, Copy, Debug)]
pub struct EngineConfig {
    /// Which worker it serves.
    pub worker: WorkerId,
    /// The flow table's secret, drawn at start (D66).
    pub hash_key: HashKey,
    /// Anything random: where outer identifications begin.
    pub seed: u64,
}

/// The memory of an engine, fixed for its life.
#[derive(Debug)]
pub struct EngineMemory {
    /// IPv4 flows.
    pub v4: FlowMemory<Ipv4Addr>,
    /// IPv6 flows.
    pub v6: FlowMemory<Ipv6Addr>,
}

impl EngineMemory {
    /// Memory for `flows` flows of each family from the heap, never given back: for tests and
    /// benches. Workers use hugepages.
    pub fn leak_heap(flows: usize) -> Self {
        Self {
            v4: FlowMemory::leak_heap(flows),
            v6: FlowMemory::leak_heap(flows),
        }
    }
}

/// The packet path of one worker.
#[derive(Debug)]
pub struct Engine {
    pub(crate) state: State,
    pub(crate) stage: Box<Stage>,
}

/// What an engine remembers.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) worker: WorkerId,
    pub(crate) v4: FlowTable<Ipv4Addr>,
    pub(crate) v6: FlowTable<Ipv6Addr>,
    pub(crate) fragments_v4: FragmentTable<Ipv4Addr>,
    pub(crate) fragments_v6: FragmentTable<Ipv6Addr>,
    /// Limits on answers, in all and to each client.
    answers: TokenBucket,
    answers_by_client: ClientBuckets,
    /// By service slot.
    pub(crate) schedulers: Box<[SchedulerState]>,
    /// By server slot: the generation whose flows the gauges count.
    pub(crate) generations: Box<[u32]>,
    /// What has been prepared for the present tables.
    adoption: Adoption,
    /// Until then, packets of flows that were forwarded without state may still come.
    pub(crate) stateless_until: Time,
    /// Until then, second packets of deferred flows may still come.
    pub(crate) deferred_until: Time,
    /// Identification of the next packet that may be fragmented on its way.
    pub(crate) next_id: u32,
    pub(crate) counters: Arc<WorkerCounters>,
}

/// A flow, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowView {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The client.
    pub client: (IpAddr, L4Port),
    /// The VIP.
    pub vip: (IpAddr, L4Port),
    /// The service.
    pub service: ServiceId,
    /// The server.
    pub server: ServerId,
    /// Its state.
    pub state: FlowState,
    /// How long it may still be idle.
    pub expires_in: Duration,
    /// Packets that the director saw of it. Wraps.
    pub packets: u32,
    /// Octets of IP in those.
    pub octets: u64,
}

/// Where a dump of flows goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowCursor {
    v6: bool,
    at: u32,
}

impl Engine {
    /// An engine without flows. Takes all the memory it will ever have.
    pub fn new(config: EngineConfig, memory: EngineMemory, counters: Arc<WorkerCounters>) -> Self {
        let (services, servers) = (counters.services.len(), counters.servers.len());
        let [low, .., high] = config.seed.to_le_bytes();
        Self {
            state: State {
                worker: config.worker,
                v4: FlowTable::new(memory.v4, config.hash_key),
                v6: FlowTable::new(memory.v6, config.hash_key),
                fragments_v4: FragmentTable::new(FRAGMENTS, config.hash_key),
                fragments_v6: FragmentTable::new(FRAGMENTS, config.hash_key),
                answers: TokenBucket::new(0, 0),
                answers_by_client: ClientBuckets::new(ANSWER_CLIENTS, 0, 0, config.hash_key),
                schedulers: vec![SchedulerState::default(); services].into(),
                generations: vec![0; servers].into(),
                adoption: Adoption::new(services),
                stateless_until: Time::ZERO,
                deferred_until: Time::ZERO,
                next_id: u32::from_le_bytes([low, high, high, low]),
                counters,
            },
            stage: Box::default(),
        }
    }

    /// The counters, for whoever else of this worker counts.
    pub fn counters(&self) -> &Arc<WorkerCounters> {
        &self.state.counters
    }

    /// Ends idle flows: looks at the next `budget` entries of each family. Once per loop.
    pub fn expire(&mut self, now: Time, budget: usize) {
        let expired = expire::<Ipv4Addr>(&mut self.state, now, budget)
            + expire::<Ipv6Addr>(&mut self.state, now, budget);
        if expired > 0 {
            self.state.counters.flows_expired.add(expired as u64);
            self.state.publish_flows();
        }
        self.state.publish_room();
    }

    /// Shows live flows to `f`, from `cursor` on, looking at no more than `budget` entries. Returns
    /// where to go on, or `None` at the end.
    pub fn flows(
        &self,
        now: Time,
        cursor: FlowCursor,
        budget: usize,
        f: &mut impl FnMut(FlowView),
    ) -> Option<FlowCursor> {
        if cursor.v6 {
            let next = self
                .state
                .v6
                .scan(cursor.at, budget, now, |_, entry| f(view(entry, now)))?;
            return Some(FlowCursor { v6: true, at: next });
        }
        let next = self
            .state
            .v4
            .scan(cursor.at, budget, now, |_, entry| f(view(entry, now)));
        Some(
            next.map_or(FlowCursor { v6: true, at: 0 }, |at| FlowCursor {
                v6: false,
                at,
            }),
        )
    }

    /// Prepares for new tables: slots that changed hands begin to count from zero, and limits are
    /// set. Call between two bursts whenever the tables are swapped, also for the first ones. Walks
    /// all services and servers; [`Self::begin_adoption`] does so in steps.
    pub fn adopt(&mut self, tables: &Tables) {
        self.begin_adoption(tables);
        while !self.continue_adoption(tables) {}
    }

    /// Fetches a part of tables that are still to come, by its number: see [`Tables::warm`] and
    /// [`Tables::parts`]. What is not foreseen is prepared later.
    pub fn foresee(&mut self, tables: &Tables, part: usize) {
        tables.warm(part);
        let adoption = &mut self.state.adoption;
        for (slot, service) in tables.services_of_part(part) {
            adoption.foresee(slot, service.map(|service| &*service.name));
        }
    }

    /// Begins to prepare for new tables, by which the engine goes from the next burst on. Costs a
    /// constant.
    pub fn begin_adoption(&mut self, tables: &Tables) {
        let AnswerLimits {
            per_second,
            per_client,
            ..
        } = tables.answers;
        self.state.answers.set(per_second, per_second);
        self.state.answers_by_client.set(per_client, per_client);
        self.state.adoption.begin();
    }

    /// Looks at some more slots of the tables that are being adopted, until it says that all have
    /// been seen. Once per loop. A service or server that gets a flow before its turn has come is
    /// seen to then.
    #[inline]
    pub fn continue_adoption(&mut self, tables: &Tables) -> bool {
        self.state.adoption.is_done() || self.state.continue_adoption(tables)
    }
}

impl State {
    #[cold]
    fn continue_adoption(&mut self, tables: &Tables) -> bool {
        let (servers, services) = self.adoption.next(&tables.servers, &tables.services);
        for server in servers.iter().flatten() {
            // An empty slot keeps its generation: the same server may come back to its flows (D62).
            self.take_over(server.id);
        }
        for (slot, service) in services {
            if !self.adoption.is_settled(slot) {
                self.take_over_service(slot, service.as_deref());
            }
        }
        self.adoption.is_done()
    }

    /// Begins to count for a service and its server, if their slots have not had their turn yet:
    /// what is counted before that would be lost.
    #[inline]
    pub(crate) fn expect(&mut self, tables: &Tables, service: ServiceId, server: Option<u32>) {
        if !self.adoption.is_done() {
            if !self.adoption.is_settled(service.index()) {
                self.take_over_service(service.index(), tables.service(service));
            }
            let slot = server.and_then(|slot| tables.servers.get(slot as usize));
            if let Some(Some(server)) = slot {
                self.take_over(server.id);
            }
        }
    }

    /// Begins to count for a service, if its slot was another one's.
    #[cold]
    fn take_over_service(&mut self, slot: usize, service: Option<&Service>) {
        let name = service.map(|service| &*service.name);
        if self.adoption.changes_hands(slot, name)
            && let Some(scheduler) = self.schedulers.get_mut(slot)
            && let Some(counters) = self.counters.services.get(slot)
        {
            *scheduler = SchedulerState::default();
            counters.reset();
        }
    }

    /// Begins to count for a server, if its slot was another one's.
    fn take_over(&mut self, server: ServerId) {
        if let Some(generation) = self.generations.get_mut(server.index as usize)
            && *generation != server.generation
        {
            *generation = server.generation;
            self.counters.begin(server);
        }
    }

    /// Publishes how many flows there are.
    pub(crate) fn publish_flows(&self) {
        self.counters
            .flows
            .set((self.v4.len() + self.v6.len()) as u64);
        self.counters
            .flows_half_open
            .set((self.v4.half_open() + self.v6.half_open()) as u64);
    }

    /// Publishes whether there is room: once per loop, not with each flow.
    fn publish_room(&self) {
        let full = u64::from(self.v4.is_full()) + u64::from(self.v6.is_full());
        let flooded = u64::from(self.v4.is_flooded()) + u64::from(self.v6.is_flooded());
        self.counters.flow_tables_full.set(full);
        self.counters.flow_tables_flooded.set(flooded);
    }

    /// A flow is forwarded without an entry: all its packets will come without one, for as long as
    /// it may live.
    pub(crate) fn forward_without_state(&mut self, timeouts: &Timeouts, now: Time) {
        let life = timeouts.tcp(TcpState::Established).as_duration();
        self.stateless_until = self.stateless_until.max(now + life);
    }

    /// A SYN is forwarded without a flow, which its client's next packet is to begin.
    #[inline]
    pub(crate) fn defer(&mut self, timeouts: &Timeouts, now: Time) {
        self.counters.flows_deferred.add(1);
        let life = timeouts.tcp(TcpState::SynRecv).as_duration();
        self.deferred_until = self.deferred_until.max(now + life);
    }

    /// Whether the limits allow one more answer to anybody.
    pub(crate) fn may_answer_somebody(&self, now: Time) -> bool {
        self.answers.is_ready(now)
    }

    /// Whether the limits allow one more answer to this client.
    pub(crate) fn may_answer<A: Ip>(&mut self, client: A, now: Time) -> bool {
        // The client's own limit comes first, so that one client cannot use up everybody's.
        self.answers_by_client.take(client, now) && self.answers.take(now)
    }

    /// An identification for the next packet that we originate or wrap.
    pub(crate) fn take_id(&mut self) -> u32 {
        self.next_id = self.next_id.wrapping_add(1);
        self.next_id
    }

    /// The same for IPv4, whose identifications are half as long.
    pub(crate) fn take_id_u16(&mut self) -> u16 {
        let [low, high, ..] = self.take_id().to_le_bytes();
        u16::from_le_bytes([low, high])
    }
}

/// Ends idle flows of one family; returns how many.
fn expire<A: Ip>(state: &mut State, now: Time, budget: usize) -> usize {
    let (flows, census) = A::flows_and_census(state);
    let ended = &mut |entry: &_| census.uncount(entry, Ended::Expired);
    flows.expire(now, budget, ended).expired
}

/// Counts flows that end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Census<'a> {
    counters: &'a WorkerCounters,
    generations: &'a [u32],
}

impl<'a> Census<'a> {
    pub(crate) const fn new(counters: &'a WorkerCounters, generations: &'a [u32]) -> Self {
        Self {
            counters,
            generations,
        }
    }

    /// Takes an ended flow out of its server's gauges, and counts it if the server never answered.
    pub(crate) fn uncount<A: Ip>(self, entry: &FlowEntry<A>, ended: Ended) {
        let server = entry.server();
        let slot = server.index as usize;
        // Gauges are of the slot's present generation; flows of servers that are gone are in none.
        if self.generations.get(slot) != Some(&server.generation) {
            return;
        }
        if let Some(counters) = self.counters.servers.get(slot) {
            if entry.state().is_active() {
                counters.active.down()
            } else {
                counters.inactive.down()
            }
        }
        let had_its_time = match ended {
            Ended::Expired | Ended::Retried => true,
            Ended::Evicted | Ended::Replaced => false,
        };
        if had_its_time
            && entry.is_unanswered()
            && let Some(outcomes) = self.counters.outcomes.get(slot)
        {
            outcomes.unanswered.add(1);
        }
    }
}

fn view<A: Ip>(entry: &FlowEntry<A>, now: Time) -> FlowView {
    let key = entry.key();
    FlowView {
        protocol: key.protocol,
        client: (key.client.into(), key.client_port),
        vip: (key.remote.into(), key.remote_port),
        service: entry.service(),
        server: entry.server(),
        state: entry.state(),
        expires_in: entry.expires_in(now.tick()).as_duration(),
        packets: entry.packets(),
        octets: entry.octets(),
    }
}
