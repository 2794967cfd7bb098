//! IPVS's TCP state table and time-outs, and the pseudo state of UDP.
//!
//! A director need not follow TCP (RFC 9293 §3.3.2) closely: it sees one half of the conversation
//! in DR and TUN, checks no sequence numbers, and only wants to know how long a flow may be idle
//! and whether its server counts it as active. The table is IPVS's (`ip_vs_proto_tcp.c`), cell by
//! cell, without `secure_tcp`. One time-out is deliberately not IPVS's: CLOSE_WAIT lasts as long as
//! FIN_WAIT, because a download may be silent for a while after the client has closed its half.
//!
//! Segments with none of RST, SYN, FIN and ACK change neither state nor timer here; IPVS closes
//! the flow. Anybody can forge them, and no honest sender makes them.

use core::fmt;
use core::time::Duration;

use weir_wire::tcp::TcpFlags;

use crate::time::Ticks;

/// State of a TCP flow, under IPVS's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TcpState {
    /// Nothing seen yet.
    #[default]
    None = 0,
    /// Data may flow.
    Established = 1,
    /// The server has sent a SYN.
    SynSent = 2,
    /// The client has sent a SYN: half open.
    SynRecv = 3,
    /// The server (or, where only the client is seen, the client) has sent a FIN.
    FinWait = 4,
    /// Both have.
    TimeWait = 5,
    /// Reset, or closed without having been open.
    Close = 6,
    /// The client has sent a FIN.
    CloseWait = 7,
    /// Waiting for the last ACK.
    LastAck = 8,
    /// Not used by a director; kept because the table has it.
    Listen = 9,
    /// The SYN was answered on the server's behalf.
    SynAck = 10,
}

use TcpState::{
    Close as CL, CloseWait as CW, Established as ES, FinWait as FW, LastAck as LA, Listen as LI,
    None as NO, SynAck as SA, SynRecv as SR, SynSent as SS, TimeWait as TW,
};

/// All states, in the order of the table's columns.
pub const STATES: [TcpState; 11] = [NO, ES, SS, SR, FW, TW, CL, CW, LA, LI, SA];

/// What a segment means to the state table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TcpEvent {
    /// SYN, with or without ACK.
    Syn = 0,
    /// FIN.
    Fin = 1,
    /// Neither of the others.
    Ack = 2,
    /// RST, whatever else is set.
    Rst = 3,
}

impl TcpEvent {
    /// Sorts a segment by its flags, in IPVS's order: RST, SYN, FIN, ACK. `None`: none of them.
    #[inline]
    pub const fn of(flags: TcpFlags) -> Option<Self> {
        if flags.intersects(TcpFlags::RST) {
            Some(Self::Rst)
        } else if flags.intersects(TcpFlags::SYN) {
            Some(Self::Syn)
        } else if flags.intersects(TcpFlags::FIN) {
            Some(Self::Fin)
        } else if flags.intersects(TcpFlags::ACK) {
            Some(Self::Ack)
        } else {
            None
        }
    }
}

/// Where a segment was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Seen {
    /// From the client, of a flow whose replies come back through the director.
    Input = 0,
    /// From the server.
    Output = 1,
    /// From the client, of a flow whose replies the director does not see (DR, TUN).
    InputOnly = 2,
}

/// Next states by [`Seen`], [`TcpEvent`] and state.
const NEXT: [[[TcpState; 11]; 4]; 3] = [
    //          NO  ES  SS  SR  FW  TW  CL  CW  LA  LI  SA
    [
        /*syn*/ [SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SR],
        /*fin*/ [CL, CW, SS, TW, TW, TW, CL, CW, LA, LI, TW],
        /*ack*/ [ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES],
        /*rst*/ [CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, SR],
    ],
    [
        /*syn*/ [SS, ES, SS, SR, SS, SS, SS, SS, SS, LI, SR],
        /*fin*/ [TW, FW, SS, TW, FW, TW, CL, TW, LA, LI, TW],
        /*ack*/ [ES, ES, SS, ES, FW, TW, CL, CW, LA, ES, ES],
        /*rst*/ [CL, CL, SS, CL, CL, TW, CL, CL, CL, CL, CL],
    ],
    [
        /*syn*/ [SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SR],
        /*fin*/ [CL, FW, SS, TW, FW, TW, CL, CW, LA, LI, TW],
        /*ack*/ [ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES],
        /*rst*/ [CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, CL],
    ],
];

impl TcpState {
    /// The state after a segment. One load from a table of 132 octets.
    #[inline]
    #[must_use]
    pub const fn next(self, seen: Seen, event: TcpEvent) -> Self {
        NEXT[seen as usize][event as usize][self as usize]
    }

    /// Whether the server counts the flow in ActiveConn; else it is in InActConn.
    #[inline]
    pub const fn is_active(self) -> bool {
        matches!(self, ES | SS | SR | SA)
    }

    /// Whether only the client has spoken: what a SYN flood consists of.
    #[inline]
    pub const fn is_half_open(self) -> bool {
        matches!(self, SR | SA)
    }

    /// Whether the conversation is over or ending: a new SYN may then start another one under the
    /// same addresses and ports, with a server of its own (D53).
    #[inline]
    pub const fn is_closing(self) -> bool {
        matches!(self, FW | TW | CL | CW | LA)
    }

    /// The name that `ipvsadm -Lnc` prints.
    pub const fn name(self) -> &'static str {
        match self {
            NO => "NONE",
            ES => "ESTABLISHED",
            SS => "SYN_SENT",
            SR => "SYN_RECV",
            FW => "FIN_WAIT",
            TW => "TIME_WAIT",
            CL => "CLOSE",
            CW => "CLOSE_WAIT",
            LA => "LAST_ACK",
            LI => "LISTEN",
            SA => "SYNACK",
        }
    }
}

impl fmt::Display for TcpState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How long a flow of a service may be idle, by state. 48 octets: one line with room to spare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    tcp: [Ticks; 11],
    udp: Ticks,
}

impl Timeouts {
    /// IPVS's ESTABLISHED time-out.
    pub const ESTABLISHED: Duration = Duration::from_secs(15 * 60);
    /// IPVS's FIN_WAIT time-out.
    pub const FIN: Duration = Duration::from_secs(2 * 60);
    /// IPVS's UDP time-out.
    pub const UDP: Duration = Duration::from_secs(5 * 60);

    /// Time-outs with the three that a service sets; all others are IPVS's. Each is cut to
    /// [`Ticks::MAX`].
    pub const fn new(established: Duration, fin: Duration, udp: Duration) -> Self {
        let (established, fin) = (Ticks::from_duration(established), Ticks::from_duration(fin));
        Self {
            tcp: [
                seconds(2),   // NONE
                established,  // ESTABLISHED
                seconds(120), // SYN_SENT
                seconds(60),  // SYN_RECV
                fin,          // FIN_WAIT
                seconds(120), // TIME_WAIT
                seconds(10),  // CLOSE
                fin,          // CLOSE_WAIT: 60 s in IPVS; half-closed downloads need more (D58)
                seconds(30),  // LAST_ACK
                seconds(120), // LISTEN
                seconds(120), // SYNACK
            ],
            udp: Ticks::from_duration(udp),
        }
    }

    /// Idle time allowed in a TCP state.
    #[inline]
    pub const fn tcp(&self, state: TcpState) -> Ticks {
        self.tcp[state as usize]
    }

    /// Idle time allowed to a UDP flow.
    #[inline]
    pub const fn udp(&self) -> Ticks {
        self.udp
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self::new(Self::ESTABLISHED, Self::FIN, Self::UDP)
    }
}

/// A span of whole seconds.
const fn seconds(count: u64) -> Ticks {
    Ticks::from_duration(Duration::from_secs(count))
}

#[cfg(test)]
mod tests;
