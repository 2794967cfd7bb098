//! What clients do.

use crate::client::{self, Client, Frame, Segment};
use crate::generator::Script;

/// TCP connections from SYN to the last ACK, as direct routing sees them: the client's half. Many
/// are under way at a time: each step follows `lag` connections behind the one before.
#[derive(Debug)]
pub(crate) struct Connections {
    next: u32,
    step: u32,
    lag: u32,
    base: u32,
    services: u16,
}

/// SYN, ACK, a request, FIN, the last ACK.
const STEPS: [Segment; 5] = [
    Segment::Syn,
    Segment::Ack,
    Segment::Data,
    Segment::Fin,
    Segment::Ack,
];
/// Frames of a connection.
pub(crate) const STEPS_LEN: f64 = STEPS.len() as f64;

impl Connections {
    /// Connections of clients from `base` on, to `services` services in turn.
    pub(crate) const fn new(base: u32, services: u16) -> Self {
        Self {
            next: 0,
            step: 0,
            lag: 1000,
            base,
            services,
        }
    }

    /// Connections begun so far.
    pub(crate) const fn begun(&self) -> u32 {
        self.next
    }
}

impl Script for Connections {
    #[inline]
    fn write(&mut self, frame: &mut Frame, now: u64) {
        let (&segment, number) = loop {
            // The first connections have nobody before them.
            let number = self.next.checked_sub(self.step * self.lag);
            match STEPS.get(self.step as usize).zip(number) {
                Some(step) => break step,
                None => {
                    self.step = 0;
                    self.next = self.next.wrapping_add(1);
                }
            }
        };
        let client = Client(self.base.wrapping_add(number));
        client::write(frame, client, service(client, self.services), segment, now);
        self.step += 1;
    }
}

/// The service that a client speaks to.
#[inline]
fn service(Client(number): Client, services: u16) -> u16 {
    u16::try_from(number % u32::from(services)).unwrap_or(0)
}

/// One segment of each of 2^n clients again and again, in an order that memory does not know.
#[derive(Debug)]
pub(crate) struct Each {
    segment: Segment,
    mask: u32,
    at: u32,
    services: u16,
}

impl Each {
    pub(crate) fn new(segment: Segment, clients: u32, services: u16) -> Self {
        assert!(
            clients.is_power_of_two(),
            "the order runs over powers of two"
        );
        Self {
            segment,
            mask: clients - 1,
            at: 1,
            services,
        }
    }
}

impl Script for Each {
    #[inline]
    fn write(&mut self, frame: &mut Frame, now: u64) {
        // A linear congruential generator of full period (Hull and Dobell).
        self.at = self.at.wrapping_mul(1_664_525).wrapping_add(1_013_904_223) & self.mask;
        let client = Client(self.at);
        let service = service(client, self.services);
        client::write(frame, client, service, self.segment, now);
    }
}

/// SYNs of clients that never came before and never come again.
#[derive(Debug)]
pub(crate) struct Flood {
    pub(crate) next: u32,
}

impl Script for Flood {
    #[inline]
    fn write(&mut self, frame: &mut Frame, now: u64) {
        self.next = self.next.wrapping_add(1);
        client::write(frame, Client(self.next), 0, Segment::Syn, now);
    }
}

/// Two scripts, a frame of each in turn.
#[derive(Debug)]
pub(crate) struct Both<A, B>(pub(crate) A, pub(crate) B, pub(crate) bool);

impl<A: Script, B: Script> Script for Both<A, B> {
    #[inline]
    fn write(&mut self, frame: &mut Frame, now: u64) {
        self.2 = !self.2;
        match self.2 {
            true => self.0.write(frame, now),
            false => self.1.write(frame, now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(script: &mut impl Script) -> (Client, u8) {
        let mut frame = [0; 60];
        script.write(&mut frame, 0);
        (client::read(&frame).expect("a client's").client, frame[47])
    }

    #[test]
    fn each_client_comes_once_a_round() {
        let mut script = Each::new(Segment::Ack, 1024, 1);
        let round: std::collections::HashSet<u32> =
            (0..1024).map(|_| next(&mut script).0.0).collect();
        assert_eq!(round.len(), 1024);
    }

    #[test]
    fn connections_go_through_all_their_steps_in_order() {
        let mut script = Connections::new(100, 1);
        let mut steps = std::collections::HashMap::<Client, Vec<u8>>::new();
        for _ in 0..30_000 {
            let (client, flags) = next(&mut script);
            steps.entry(client).or_default().push(flags);
        }
        assert_eq!(steps[&Client(100)], [0x02, 0x10, 0x18, 0x11, 0x10]);
        assert_eq!(steps[&Client(2100)], [0x02, 0x10, 0x18, 0x11, 0x10]);
        assert!(script.begun() > 6000);
    }
}
