//! Dates for people and machines, RFC 3339.

use std::time::{SystemTime, UNIX_EPOCH};

const SECONDS_PER_DAY: u64 = 86_400;
/// From 0000-03-01, where the calendar's arithmetic begins, to 1970-01-01.
const DAYS_TO_1970: u64 = 719_468;
/// In 400 years of the Gregorian calendar.
const DAYS_PER_ERA: u64 = 146_097;

/// The wall clock.
#[expect(
    clippy::disallowed_methods,
    reason = "a date for people, no timing depends on it"
)]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

/// A time as `2026-11-27T20:18:36.042Z`; before 1970 as the beginning of that.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (
        since.as_secs() / SECONDS_PER_DAY,
        since.as_secs() % SECONDS_PER_DAY,
    );
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let millis = since.subsec_millis();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Year, month and day of a day since 1970-01-01: years begin in March here, so that the leap day
/// is the last of its year and months from March on have lengths of a formula, (153 m + 2) / 5.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + DAYS_TO_1970;
    let (era, of_era) = (days / DAYS_PER_ERA, days % DAYS_PER_ERA);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (era * 400 + year + carry, month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        // As `date -u -d @N` says.
        for (seconds, date) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000Z"),
            (1_709_251_200, "2024-03-01T00:00:00.000Z"),
            (1_795_810_716, "2026-11-27T20:18:36.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)), date);
        }
        assert_eq!(
            rfc3339(UNIX_EPOCH - Duration::from_secs(9)),
            "1970-01-01T00:00:00.000Z"
        );
    }

    #[test]
    fn every_day_of_400_years_follows_the_one_before() {
        let mut last = civil(0);
        for day in 1..=DAYS_PER_ERA {
            let (year, month, date) = civil(day);
            let next = match date {
                1 if month == 1 => (last.0 + 1, 12, 31) == (year, last.1, last.2),
                1 => (year, month - 1) == (last.0, last.1) && last.2 >= 28,
                _ => (year, month, date - 1) == last,
            };
            assert!(next, "{last:?} then {year}-{month}-{date}");
            last = (year, month, date);
        }
        assert_eq!(last, (2370, 1, 1));
    }
}
