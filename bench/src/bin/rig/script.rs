//! What clients do.

use crate::client::{self, Client, Frame, Segment};
use crate::generator::Script;

/// The number of the first client of [`Connections`] beside others: after those of [`Each`], and as
/// many are there until [`FLOOD_BASE`]. They go round: at 1.5 million connections a second a number
/// comes again after 12 minutes, when what it was last used for ended long ago.
pub(crate) const CHURN_BASE: u32 = 1 << 30;
/// The first client of [`Flood`], which goes round from here to the last number.
pub(crate) const FLOOD_BASE: u32 = 1 << 31;
/// Clients of [`Connections`]; a power of two.
const CHURN_CLIENTS: u32 = FLOOD_BASE - CHURN_BASE;

/// TCP connections from SYN to the last ACK, as direct routing sees them: the client's half. Many
/// are under way at a time: each step follows `lag` connections behind the one before.
#[derive(Debug)]
pub(crate) struct Connections {
    next: u64,
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
    pub(crate) const fn begun(&self) -> u64 {
        self.next
    }
}

impl Script for Connections {
    #[inline]
    fn write(&mut self, frame: &mut Frame, now: u64) {
        let (&segment, number) = loop {
            // The first connections have nobody before them.
            let number = self.next.checked_sub(u64::from(self.step * self.lag));
            match STEPS.get(self.step as usize).zip(number) {
                Some(step) => break step,
                None => {
                    self.step = 0;
                    self.next += 1;
                }
            }
        };
        #[expect(
            clippy::cast_possible_truncation,
            reason = "its low bits are what is wanted"
        )]
        let client = Client(self.base + (number as u32 & (CHURN_CLIENTS - 1)));
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

/// SYNs of clients that have not come before, or not for two billion SYNs.
#[derive(Debug)]
pub(crate) struct Flood {
    pub(crate) next: u32,
}

impl Script for Flood {
    #[inline]
    fn write(&mut self, frame: &mut Frame, now: u64) {
        self.next = self.next.wrapping_add(1) | FLOOD_BASE;
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

    #[test]
    fn connections_go_round_among_their_own_clients() {
        let mut script = Connections::new(CHURN_BASE, 1);
        // Where half an hour of 1.5 million a second ends, just before the numbers begin anew.
        script.next = 3 * u64::from(CHURN_CLIENTS) - 500;
        let mut steps = std::collections::HashMap::<Client, Vec<u8>>::new();
        for _ in 0..30_000 {
            let (client, flags) = next(&mut script);
            assert!((CHURN_BASE..FLOOD_BASE).contains(&client.0));
            steps.entry(client).or_default().push(flags);
        }
        for number in [FLOOD_BASE - 1, CHURN_BASE, CHURN_BASE + 1] {
            assert_eq!(steps[&Client(number)], [0x02, 0x10, 0x18, 0x11, 0x10]);
        }
    }

    #[test]
    fn a_flood_goes_round_among_its_own_clients() {
        let mut script = Flood { next: u32::MAX - 1 };
        assert_eq!(next(&mut script).0, Client(u32::MAX));
        assert_eq!(next(&mut script).0, Client(FLOOD_BASE));
        assert_eq!(next(&mut script).0, Client(FLOOD_BASE + 1));
    }
}
