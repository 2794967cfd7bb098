//! The director under test: a real worker with its engine, and control's part of the work, done by
//! control's own code: the configuration is parsed, reconciled with what was before, and adopted by
//! command, as in `weir run`.

use std::fmt::Write as _;
use std::sync::Arc;

use weir_control::config::{self, Config};
use weir_control::health::Verdicts;
use weir_control::mirror::Mirror;
use weir_control::overlay::Overlay;
use weir_control::ports::PortFact;
use weir_control::reconcile::{Inputs, Snapshot, reconcile};
use weir_dpdk::{Hugepages, Mempool, Tsc, leak_slice_with};
use weir_engine::flow::{Bucket, FlowEntry, FlowMemory, HashKey};
use weir_engine::id::{DeviceId, WorkerId};
use weir_engine::police::{Policer, PuntLimits};
use weir_engine::steering::{DEFAULT_KEY, Steering};
use weir_engine::tables::Tables;
use weir_engine::{Engine, EngineConfig, EngineMemory};
use weir_wire::addr::{Address, MacAddr};
use weir_worker::{
    Command, ControlEnd, ControlLink, DeviceQueues, Idle, Worker, WorkerConfig, WorkerStats, build,
    control_link,
};

use crate::Failure;
use crate::client::{VIP_PORT, WAN_MAC, vip};

const LAN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// What is configured.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Services, each with a VIP of its own.
    pub(crate) services: u16,
    /// Host numbers of the servers of each.
    pub(crate) servers: Vec<u8>,
    /// The weight of each server.
    pub(crate) weight: u16,
    /// The scheduler.
    pub(crate) scheduler: &'static str,
    /// Another key of each service.
    pub(crate) key: &'static str,
    /// A server of each service that gets no new flow.
    pub(crate) drained: Option<u8>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            services: 1,
            servers: (11..19).collect(),
            weight: 1,
            scheduler: "rr",
            key: "protocol: tcp",
            drained: None,
        }
    }
}

impl Plan {
    fn yaml(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::from(
            "ports:\n  - {name: wan0, device: net_ring0}\n  - name: lan0\n    device: net_ring1\n\
             \x20   addresses: [203.0.113.2/24]\n    neighbours:\n",
        );
        for host in 11..=250 {
            let mac = MacAddr([2, 0, 0, 0, 1, host]);
            writeln!(
                text,
                "      - {{address: 203.0.113.{host}, mac: \"{mac}\"}}"
            )?;
        }
        text.push_str("services:\n");
        for service in 0..self.services {
            let (vip, scheduler, key) = (vip(service), self.scheduler, self.key);
            writeln!(
                text,
                "  - name: s{service}\n    address: {vip}\n    port: {VIP_PORT}\n    \
                 scheduler: {scheduler}\n    {key}\n    servers:",
            )?;
            for host in &self.servers {
                let drained = self.drained == Some(*host);
                let weight = if drained { 0 } else { self.weight };
                writeln!(
                    text,
                    "      - {{address: 203.0.113.{host}, weight: {weight}}}"
                )?;
            }
        }
        Ok(text)
    }

    fn config(&self) -> Result<Config, Failure> {
        let loaded = config::parse("rig", &self.yaml()?);
        Ok(loaded.map_err(|mistakes| mistakes.to_string())?.config)
    }
}

/// Control's side of a director.
#[derive(Debug)]
pub(crate) struct Director {
    pub(crate) stats: Vec<Arc<WorkerStats>>,
    ends: Vec<ControlEnd>,
    links: Vec<ControlLink>,
    snapshot: Snapshot,
    facts: Vec<PortFact>,
    steering: Steering,
    /// Tables that workers gave back: freed at the end, when nobody measures.
    old: Vec<Arc<Tables>>,
}

impl Director {
    /// A director before its workers, with these MACs' ports: clients on the even devices and
    /// servers on the odd.
    pub(crate) fn new(workers: u16, plan: &Plan) -> Result<Self, Failure> {
        let (links, ends) = (0..workers).map(|_| control_link()).unzip();
        let facts = [WAN_MAC, LAN_MAC].into_iter().zip(0..);
        let facts = facts.map(|(mac, device)| PortFact {
            device: DeviceId(device),
            mac: MacAddr(mac),
            mtu: 1500,
        });
        let mut director = Self {
            stats: (0..workers).map(|_| Arc::default()).collect(),
            ends,
            links,
            snapshot: Snapshot::default(),
            facts: facts.collect(),
            steering: Steering::new(workers, DEFAULT_KEY),
            old: Vec::new(),
        };
        director.plan(plan)?;
        Ok(director)
    }

    /// Makes the workers with room for `flows` flows each.
    pub(crate) fn workers(
        &mut self,
        devices: Vec<DeviceQueues>,
        (pool, clock): (Mempool, Tsc),
        flows: usize,
    ) -> Result<Vec<Worker>, Failure> {
        let parts = build(devices, std::mem::take(&mut self.links));
        let tables = &self.snapshot.tables;
        let all = (0..).map(WorkerId).zip(parts).zip(&self.stats);
        all.map(|((id, parts), stats)| {
            let hash_key = HashKey::new([1, 2, 3, 4].map(|word| word + u64::from(id.0)));
            let config = EngineConfig {
                worker: id,
                hash_key,
                seed: 7,
            };
            let memory = EngineMemory {
                v4: flow_memory(flows)?,
                v6: flow_memory(1024)?,
            };
            let mut engine = Engine::new(config, memory, Arc::clone(&stats.counters));
            engine.adopt(tables);
            let config = WorkerConfig {
                id,
                engine,
                tables: Arc::clone(tables),
                pool,
                clock,
                idle: Idle::Poll,
                policer: Policer::new(PuntLimits::default(), hash_key),
                stats: Arc::clone(stats),
            };
            Ok(Worker::new(config, parts))
        })
        .collect()
    }

    /// Makes the tables of a changed plan. They are adopted by [`Self::hand_out`].
    pub(crate) fn plan(&mut self, plan: &Plan) -> Result<(), Failure> {
        let config = plan.config()?;
        let inputs = Inputs {
            config: &config,
            overlay: &Overlay::default(),
            health: &Verdicts::default(),
            mirror: &Mirror::from_config(&config),
            ports: &self.facts,
            steering: &self.steering,
        };
        self.snapshot = reconcile(&self.snapshot, &inputs)?;
        Ok(())
    }

    /// The tables of the last plan.
    pub(crate) fn tables(&self) -> Arc<Tables> {
        Arc::clone(&self.snapshot.tables)
    }

    /// Makes every worker adopt tables. False if one is still busy with others.
    pub(crate) fn hand_out(&mut self, tables: &Arc<Tables>) -> bool {
        self.take_back();
        let sent = |end: &mut ControlEnd| {
            let command = Command::Adopt(Arc::clone(tables));
            end.commands.push(command).is_ok()
        };
        self.ends.iter_mut().all(sent)
    }

    /// Takes back tables that are no longer used. Returns whether none is on its way.
    pub(crate) fn take_back(&mut self) -> bool {
        for end in &mut self.ends {
            while let Ok(old) = end.old_tables.pop() {
                self.old.push(old);
            }
        }
        let adopted = |stats: &Arc<WorkerStats>| stats.generation.value();
        let newest = self.snapshot.tables.generation;
        self.stats.iter().all(|stats| adopted(stats) == newest)
    }
}

/// Memory of a flow table, as `weir run` takes it.
pub(crate) fn flow_memory<A: Address>(flows: usize) -> Result<FlowMemory<A>, Failure> {
    let (buckets, entries) = FlowMemory::<A>::required(flows);
    Ok(FlowMemory {
        buckets: leak_slice_with(buckets, Hugepages::Auto, |_| Bucket::EMPTY)?.slice,
        entries: leak_slice_with(entries, Hugepages::Auto, |_| FlowEntry::EMPTY)?.slice,
    })
}
