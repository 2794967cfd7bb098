//! SYNs into a flooded table: they go out by their server's lane and leave no trace.
//!
//! This is what a director does most of while it is flooded, so it is done in the loops of
//! [`carry`](super::carry), in the words of `decide`.

use super::carry::{Carrier, verdict};
use crate::commit::count;
use crate::decide::View;
use crate::engine::State;
use crate::family::Ip;
use crate::flow::{Direction, Translation};
use crate::io::Io;
use crate::lane::Job;
use crate::pipeline::Key;
use crate::pipeline::first::{is_owned, may_speak};
use crate::service;
use crate::verdict::Verdict;

impl<A: Ip> Carrier<'_, A> {
    /// Sends a connection's first segment without a flow, if the table is flooded. `None` leaves
    /// everything as it is.
    #[inline(never)]
    pub(super) fn defer<I: Io>(
        &mut self,
        state: &mut State,
        frame: &mut I::Frame,
        Key {
            hash,
            hint,
            straight: packet,
        }: &Key<A>,
    ) -> Option<Verdict> {
        let (tables, now) = (self.tables, self.now);
        let key = packet.client_key()?;
        let flooded = A::flows(state).is_flooded();
        if !(flooded && may_speak(tables, key) && is_owned(tables, state, key)) {
            return None;
        }
        let service = self.listening.service(tables, key)?;
        let view = View { tables, state, now };
        let (server, _) = service::pick_stateless(view, service, key)?;
        let lane = self.lanes.of(server.id)?;
        let port = server.port.unwrap_or(key.remote_port);
        let to = (A::from_ip(server.address)?, port);
        let flows = A::flows(state);
        let has_flow =
            || !flows.is_absent(*hint, self.moment) && flows.lookup(key, *hash, now).is_some();
        if packet.len > lane.room || has_flow() {
            return None;
        }
        let slot = Some(server.id.index);
        state.expect(tables, service.id, slot);
        state.defer(&service.timeouts, now);
        self.forward.add((state, tables), lane.service, packet.len);
        count(state, Direction::Forward, None, slot, packet.len);
        let to = match lane.job {
            Job::Translate => Translation::new((key.remote, key.remote_port), to),
            Job::Direct | Job::Wrap | Job::WrapV6 | Job::Tagged | Job::Reply => {
                Translation::without_deltas(to)
            }
        };
        let sent = self.rewrite::<I>(state, frame, packet, (lane.job, lane, to));
        Some(verdict(state, sent, lane.port))
    }
}
