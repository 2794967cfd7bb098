//! The state table again, written down independently as text, and the time-outs.

use super::*;

/// Current mainline's table. Rows: direction and event; columns: the state before.
const TABLE: &str = "
INPUT syn   | SR | ES | ES | SR | SR | SR | SR | SR | SR | SR | SR |
INPUT fin   | CL | CW | SS | TW | TW | TW | CL | CW | LA | LI | TW |
INPUT ack   | ES | ES | SS | ES | FW | TW | CL | CW | CL | LI | ES |
INPUT rst   | CL | CL | CL | SR | CL | CL | CL | CL | LA | LI | SR |
OUTPUT syn  | SS | ES | SS | SR | SS | SS | SS | SS | SS | LI | SR |
OUTPUT fin  | TW | FW | SS | TW | FW | TW | CL | TW | LA | LI | TW |
OUTPUT ack  | ES | ES | SS | ES | FW | TW | CL | CW | LA | ES | ES |
OUTPUT rst  | CL | CL | SS | CL | CL | TW | CL | CL | CL | CL | CL |
IN-ONLY syn | SR | ES | ES | SR | SR | SR | SR | SR | SR | SR | SR |
IN-ONLY fin | CL | FW | SS | TW | FW | TW | CL | CW | LA | LI | TW |
IN-ONLY ack | ES | ES | SS | ES | FW | TW | CL | CW | CL | LI | ES |
IN-ONLY rst | CL | CL | CL | SR | CL | CL | CL | CL | LA | LI | CL |
";

fn short(state: TcpState) -> &'static str {
    match state.name() {
        "NONE" => "NO",
        "ESTABLISHED" => "ES",
        "SYN_SENT" => "SS",
        "SYN_RECV" => "SR",
        "FIN_WAIT" => "FW",
        "TIME_WAIT" => "TW",
        "CLOSE" => "CL",
        "CLOSE_WAIT" => "CW",
        "LAST_ACK" => "LA",
        "LISTEN" => "LI",
        "SYNACK" => "SA",
        other => panic!("unknown state {other}"),
    }
}

#[test]
fn d52_all_132_cells_equal_ipvs() {
    let mut cells = 0;
    for line in TABLE.lines().filter(|line| !line.is_empty()) {
        let mut columns = line.split('|').map(str::trim);
        let (seen, event) = columns.next().and_then(|row| row.split_once(' ')).unwrap();
        let seen = match seen {
            "INPUT" => Seen::Input,
            "OUTPUT" => Seen::Output,
            _ => Seen::InputOnly,
        };
        let flags = match event.trim() {
            "syn" => TcpFlags::SYN,
            "fin" => TcpFlags::FIN,
            "rst" => TcpFlags::RST,
            _ => TcpFlags::ACK,
        };
        for (state, expected) in STATES.iter().zip(columns.by_ref().take(11)) {
            let next = state.next(seen, TcpEvent::of(flags).unwrap());
            assert_eq!(short(next), expected, "{line}: from {state}");
            cells += 1;
        }
    }
    assert_eq!(cells, 132);
}

#[test]
fn the_class_of_a_segment_is_rst_before_syn_before_fin_before_ack() {
    for bits in 0..=255_u8 {
        let flags = TcpFlags(bits);
        let expected = if bits & 0x04 != 0 {
            Some(TcpEvent::Rst)
        } else if bits & 0x02 != 0 {
            Some(TcpEvent::Syn)
        } else if bits & 0x01 != 0 {
            Some(TcpEvent::Fin)
        } else if bits & 0x10 != 0 {
            Some(TcpEvent::Ack)
        } else {
            None
        };
        assert_eq!(TcpEvent::of(flags), expected, "{flags:?}");
    }
}

#[test]
fn d52_default_timeouts_equal_ipvs_but_for_close_wait() {
    let seconds = [2, 900, 120, 60, 120, 120, 10, 120, 30, 120, 120];
    let timeouts = Timeouts::default();
    for (state, seconds) in STATES.into_iter().zip(seconds) {
        let expected = Ticks::from_duration(Duration::from_secs(seconds));
        assert_eq!(timeouts.tcp(state), expected, "{state}");
    }
    assert_eq!(
        timeouts.udp(),
        Ticks::from_duration(Duration::from_secs(300))
    );
}

#[test]
fn d58_a_half_closed_flow_lasts_as_long_as_the_service_s_fin_timeout() {
    let fin = Duration::from_secs(95);
    let timeouts = Timeouts::new(Timeouts::ESTABLISHED, fin, Timeouts::UDP);
    assert_eq!(timeouts.tcp(TcpState::CloseWait), Ticks::from_duration(fin));
    assert_eq!(timeouts.tcp(TcpState::FinWait), Ticks::from_duration(fin));
    assert_eq!(timeouts.tcp(TcpState::TimeWait), seconds(120));
}

#[test]
fn active_states_are_those_that_ipvs_counts_in_active_conn() {
    let active: Vec<_> = STATES
        .into_iter()
        .filter(|s| s.is_active())
        .map(short)
        .collect();
    assert_eq!(active, ["ES", "SS", "SR", "SA"]);
    let closing: Vec<_> = STATES
        .into_iter()
        .filter(|s| s.is_closing())
        .map(short)
        .collect();
    assert_eq!(closing, ["FW", "TW", "CL", "CW", "LA"]);
}
