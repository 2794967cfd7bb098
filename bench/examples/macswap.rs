//! Swaps the MAC addresses of every frame between two ports: the cost of Weir's I/O layer alone.
//!
//! `testpmd --forward-mode=macswap` does the same in C, with the same burst and descriptors, so
//! the two rates compare the layers. Frames go both ways, and those from `--rx` to `--tx` count.
//! Each line of input is answered with how many there were; the end of input is the end.
//!
//! ```text
//! macswap --rx net_pcap0,rx_pcap=in.pcap,infinite_rx=1 --tx net_null0 --cpu 1
//! ```

use std::process::ExitCode;

use weir_bench::contender::{Failure, Options, exit};
use weir_dpdk::{Burst, Hugepages, RxQueue, TxQueue};

/// One load, one rotation, one store: the 12 octets are rotated by 6, the next 4 stay.
#[inline(always)]
fn swap_macs(frame: &mut [u8]) {
    const ADDRESSES: u128 = (1 << 96) - 1;
    if let Some(start) = frame.first_chunk_mut::<16>() {
        let all = u128::from_le_bytes(*start);
        let (addresses, rest) = (all & ADDRESSES, all & !ADDRESSES);
        *start = (rest | addresses >> 48 | (addresses << 48) & ADDRESSES).to_le_bytes();
    }
}

/// Both ends of one direction.
struct Path {
    rx: RxQueue,
    tx: TxQueue,
}

impl Path {
    /// One burst; returns how many frames left.
    #[inline(always)]
    fn turn(&mut self, burst: &mut Burst, burst_len: usize) -> usize {
        if self.rx.receive_up_to(burst, burst_len) == 0 {
            return 0;
        }
        for frame in burst.iter_mut() {
            swap_macs(frame.data_mut());
        }
        let sent = self.tx.send(burst);
        burst.clear();
        sent
    }
}

fn run() -> Result<(), Failure> {
    let mut hugepages = Hugepages::Auto;
    let options = Options::read(|flag, value| {
        let off = (flag, value) == ("--hugepages", "off");
        if off {
            hugepages = Hugepages::Off;
        }
        Ok(off)
    })?;
    let mut eal = options.eal("macswap", hugepages, 0)?;
    println!("memory {:?}", eal.memory());
    let mut ports = options.ports(&mut eal)?;
    let path = |rx: Option<RxQueue>, tx: Option<TxQueue>| {
        let (rx, tx) = (rx.ok_or("no queue")?, tx.ok_or("no queue")?);
        Ok::<_, Failure>(Path { rx, tx })
    };
    let mut there = path(ports.near.rx.pop(), ports.far.tx.pop())?;
    let mut back = path(ports.far.rx.pop(), ports.near.tx.pop())?;
    let (mut burst, burst_len) = (Burst::new(), options.burst);
    options.serve("macswap", move |shared| {
        // Both ways, as testpmd does; what goes the first way counts.
        shared.forward(|| {
            let sent = there.turn(&mut burst, burst_len);
            back.turn(&mut burst, burst_len);
            sent
        });
        Ok(())
    })
}

fn main() -> ExitCode {
    exit("macswap", run())
}
