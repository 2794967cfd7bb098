//! VRRP's side of the loop: carries out what the instances want and tells them how things are.

use weir_engine::id::PortId;
use weir_engine::tables::{Map, Role};
use weir_engine::time::Time;

use super::{Control, Dataplane, Happening};
use crate::config::Tracked;
use crate::mirror::Mirror;
use crate::reconcile::Quorums;
use crate::vrrp::{self, Action, Conditions};

/// How things are, for [`vrrp::Routers::weigh`].
struct Now<'a> {
    links: &'a Map<PortId, bool>,
    ports: &'a [crate::config::Port],
    quorums: &'a Quorums,
    mirror: &'a Mirror,
    scripts: &'a crate::script::Tracker,
    is_stalled: bool,
}

impl Conditions for Now<'_> {
    fn link_is_up(&self, port: PortId) -> bool {
        self.links.get(&port).copied().unwrap_or(true)
    }

    fn is_well(&self, instance: &str, tracked: &Tracked) -> bool {
        match tracked {
            Tracked::Port(name) => {
                let index = self.ports.iter().position(|port| port.name == *name);
                let id = index
                    .and_then(|index| u16::try_from(index).ok())
                    .map(PortId);
                id.is_some_and(|id| self.link_is_up(id))
            }
            Tracked::Service(name) => {
                let quorum = self.quorums.get(name.as_str());
                quorum.is_some_and(|quorum| quorum.met)
            }
            Tracked::Route(prefix) => self.mirror.routes.iter().any(|route| {
                let known = &route.destination;
                known.len == prefix.len && known.network() == prefix.network()
            }),
            Tracked::Script { argv, .. } => self.scripts.is_well(instance, argv),
        }
    }

    fn is_stalled(&self) -> bool {
        self.is_stalled
    }
}

impl<D: Dataplane> Control<D> {
    /// Lets Actives speak before they listen: one that was late renews its lease or steps back
    /// before anything is answered in a role that it may have lost (V40, V45).
    pub(super) fn vrrp_advertise(&mut self, now: Time) {
        self.routers.advertise(now, &mut self.vrrp_actions);
        self.perform_vrrp(now);
    }

    /// What of VRRP is due; before anything else of the turn that may take long.
    pub(super) fn vrrp_expire(&mut self, now: Time) {
        if self.routers.deadline().is_some_and(|at| at <= now) {
            self.routers.expire(now, &mut self.vrrp_actions);
        }
        self.perform_vrrp(now);
    }

    /// Tells the instances how links, routes, services, scripts and workers are.
    pub(super) fn vrrp_weigh(&mut self, now: Time) {
        let heartbeat = self.world.config.runtime.heartbeat;
        // A stall is a worker's only if this thread itself was on time.
        let on_time = now.since(self.turned_at) < heartbeat;
        let is_stalled = on_time && self.dataplane.is_stalled(heartbeat);
        let conditions = Now {
            links: &self.links,
            ports: &self.world.config.ports,
            quorums: &self.world.snapshot.quorums,
            mirror: &self.world.mirror,
            scripts: &self.scripts,
            is_stalled,
        };
        self.routers.weigh(now, &conditions, &mut self.vrrp_actions);
        self.perform_vrrp(now);
    }

    /// Carries out what the instances want.
    pub(super) fn perform_vrrp(&mut self, now: Time) {
        let mut actions = std::mem::take(&mut self.vrrp_actions);
        for action in actions.drain(..) {
            match action {
                Action::Send(port, frame) => {
                    self.send(port, &frame);
                }
                Action::Resolve(port, neighbour) => {
                    if let Some(kernel) = &self.kernel {
                        kernel.resolve(port, neighbour);
                    }
                }
                Action::Role(lease, role) => {
                    if role != Role::Active {
                        self.world.snapshot.tables.leases.release(lease);
                    }
                    self.responder.set_role(now, lease, role);
                }
                Action::Renew(lease, until) => {
                    let here = self.dataplane.now();
                    let until = here + until.since(now);
                    self.world.snapshot.tables.leases.renew(lease, here, until);
                }
                Action::Announce(lease) => self.responder.announce_all(now, lease),
                Action::Changed {
                    name,
                    from,
                    to,
                    why,
                } => {
                    let why = vrrp::words(why);
                    let word = to.name();
                    tracing::warn!(instance = %name, from = from.name(), to = word, why, "vrrp");
                    self.status.last_change = (now, format!("vrrp {name} {word}: {why}"));
                    self.notify(&name, word);
                    self.commands.events.tell(Happening::Vrrp {
                        instance: name,
                        from,
                        to,
                        why,
                    });
                    self.stale = true;
                }
                Action::Refused(reason, port, source) => {
                    let source = source.map_or_else(|| "?".to_owned(), |ip| ip.to_string());
                    let port = self.port_name(port);
                    let (reason, text) = (reason.label(), reason.text());
                    tracing::warn!(port, source, reason, text, "vrrp advert refused");
                }
            }
        }
        self.vrrp_actions = actions;
    }

    /// Runs the operator's program for a change of state.
    fn notify(&self, name: &str, state: &'static str) {
        let instance = self.world.config.vrrp.iter().find(|v| v.name == name);
        let Some(instance) = instance else { return };
        let notify = &instance.notify;
        let argv = match state {
            "active" => &notify.master,
            "backup" => &notify.backup,
            "fault" => &notify.fault,
            _ => return,
        };
        if argv.is_empty() {
            return;
        }
        let environment = vec![
            ("WEIR_INSTANCE".to_owned(), name.to_owned()),
            ("WEIR_STATE".to_owned(), state.to_owned()),
        ];
        crate::script::spawn(argv.clone(), environment, notify.timeout);
    }
}
