//! Frames between workers, responder and kernel, and what the kernel says.

use weir_engine::id::PortId;
use weir_engine::time::Time;
use weir_engine::verdict::PuntClass;

use super::{
    CONFLICT_LOG_INTERVAL, Control, Dataplane, FRAMES_PER_TURN, Happening, LINK_INTERVAL,
    RESOLVE_INTERVAL, RESOLVES_MAX,
};
use crate::frame::{self, Frame};
use crate::responder::{Action, Conflict};
use crate::uplink::Down;

impl<D: Dataplane> Control<D> {
    /// Frames from the workers: to the routers, the responder and the kernel. What follows from
    /// one is carried out before the next is looked at: a role that an advert ended must not
    /// answer the question behind it, nor defend its VIPs against the new Active.
    pub(super) fn punts(&mut self, now: Time) -> usize {
        for count in 0..FRAMES_PER_TURN {
            if !self.punt(now) {
                return count;
            }
            self.perform_vrrp(now);
            self.perform(now);
        }
        FRAMES_PER_TURN
    }

    fn punt(&mut self, now: Time) -> bool {
        let Self {
            dataplane,
            uplink,
            responder,
            actions,
            kernel,
            routers,
            vrrp_actions,
            paths,
            ..
        } = self;
        dataplane.poll_punt(&mut |port, class, bytes| {
            if class == PuntClass::Vrrp {
                let whole = uplink.admit_vrrp(now, port).then(|| frame::untag(bytes));
                if let Some(Some(bytes)) = whole
                    && let Some(frame) = Frame::parse(&bytes)
                {
                    routers.receive(now, port, &frame, vrrp_actions);
                }
                return;
            }
            let frame = uplink.up(now, (port, class), bytes, responder, paths, actions);
            if let (Some((port, frame)), Some(kernel)) = (frame, kernel.as_ref()) {
                kernel.give(port, &frame);
            }
        })
    }

    /// Carries out what the responder wants.
    pub(super) fn perform(&mut self, now: Time) {
        let mut actions = std::mem::take(&mut self.actions);
        for action in actions.drain(..) {
            match action {
                Action::Send(port, frame) => {
                    self.send(port, &frame);
                }
                Action::Conflict(conflict) => self.claimed(now, &conflict),
            }
        }
        self.actions = actions;
    }

    /// Somebody claims a VIP: recorded, and told once in a while.
    fn claimed(&mut self, now: Time, conflict: &Conflict) {
        let leak = self.suppression.claim(now, conflict).clone();
        let port = self.port_name(conflict.port).to_owned();
        self.commands.events.tell_leak(now, &port, &leak);
        let last = self.conflicts_logged.get(&conflict.vip);
        if last.is_some_and(|at| now.since(*at) < CONFLICT_LOG_INTERVAL) {
            return;
        }
        self.conflicts_logged.insert(conflict.vip, now);
        tracing::warn!(
            vip = %conflict.vip, mac = %conflict.mac, port,
            server = leak.server.as_deref().unwrap_or("unknown"), how = conflict.how.label(),
            fix = leak.fix(),
            "another host claims a VIP"
        );
    }

    /// Asks servers that hold VIPs whether they answer for them.
    pub(super) fn suppress(&mut self, now: Time) {
        if self.suppression.deadline().is_none_or(|at| now < at) {
            return;
        }
        let mut questions = Vec::new();
        let responder = &self.responder;
        self.suppression
            .expire(now, |vip| responder.is_active(vip), &mut questions);
        for (port, frame) in questions {
            self.send(port, &frame);
        }
    }

    pub(super) fn send(&mut self, port: PortId, frame: &[u8]) -> bool {
        let vlan = self
            .world
            .config
            .ports
            .get(port.index())
            .and_then(|p| p.vlan);
        self.dataplane
            .inject(port, &frame::tag(frame, vlan.map(|vlan| vlan.0)))
    }

    /// Frames from the kernel, out of their ports; in each turn another port comes first.
    pub(super) fn kernel_frames(&mut self, now: Time) -> usize {
        let mut count = 0;
        let mut buffer = std::mem::take(&mut self.buffer);
        let ports = self.world.config.ports.len();
        self.first = (self.first + 1) % ports.max(1);
        let all = (0..).map(PortId).take(ports);
        for port in all.cycle().skip(self.first).take(ports) {
            while count < FRAMES_PER_TURN {
                let tap = self
                    .kernel
                    .as_ref()
                    .and_then(|kernel| kernel.taps.tap(port));
                let Some(Ok(len)) = tap.map(|tap| tap.recv(&mut buffer)) else {
                    break;
                };
                count += 1;
                let (responder, paths) = (&self.responder, &self.paths);
                match self
                    .uplink
                    .down(now, port, &buffer[..len], responder, paths)
                {
                    Some(Down::Send(port, frame)) => {
                        self.send(port, &frame);
                    }
                    Some(Down::Answer(frame)) => {
                        if let Some(kernel) = &self.kernel {
                            kernel.give(port, &frame);
                        }
                    }
                    None => {}
                }
            }
        }
        self.buffer = buffer;
        count
    }

    /// Neighbours that workers wait for.
    pub(super) fn resolve(&mut self, now: Time) {
        let Self {
            dataplane,
            kernel,
            resolves,
            ..
        } = self;
        dataplane.poll_resolve(&mut |port, address| {
            if resolves.len() >= RESOLVES_MAX {
                resolves.clear();
            }
            let last = resolves.get(&(port, address));
            if last.is_some_and(|at| now.since(*at) < RESOLVE_INTERVAL) {
                return;
            }
            resolves.insert((port, address), now);
            if let Some(kernel) = kernel {
                kernel.resolve(port, address);
            }
        });
    }

    /// Takes over what the kernel says of routes, neighbours and links.
    pub(super) fn follow_kernel(&mut self, now: Time) {
        if let Some(kernel) = &mut self.kernel
            && kernel.view.has_changed().unwrap_or(false)
        {
            self.world.mirror = kernel.view.borrow_and_update().mirror.clone();
            self.dirty = true;
        }
        if now >= self.links_at {
            self.links_at = now + LINK_INTERVAL;
            self.look_at_links();
            self.vrrp_weigh(now);
        }
    }

    fn look_at_links(&mut self) {
        for (port, config) in (0..).map(PortId).zip(&self.world.config.ports) {
            let kernel = self.kernel.as_ref();
            let netdev = kernel.and_then(|k| k.view.borrow().carriers.get(&port).copied());
            let up = netdev.unwrap_or_else(|| self.dataplane.link_is_up(port));
            if self.links.insert(port, up) == Some(up) {
                continue;
            }
            if let Some(kernel) = &self.kernel {
                kernel.taps.set_carrier(port, up);
            }
            self.stale = true;
            tracing::info!(port = config.name, up, "link");
            self.commands.events.tell(Happening::Link {
                port: config.name.clone(),
                up,
            });
        }
    }
}
