//! Tables that come: fetched into the caches of the core that will go by them, a little at a time,
//! while it still goes by the old ones.
//!
//! Another core has just written them, so the first burst by new tables would wait for each line:
//! with 10,000 servers that took a turn of 60 µs where others take 7.

use core::hint::black_box;
use core::net::IpAddr;

use weir_prefetch::prefetch_range;

use crate::tables::{Service, Tables};

/// Lines asked for in a part, of each kind.
const LINES_PER_PART: usize = 64;
/// Services whose VIPs are looked up in a part: two or three lines each, which are waited for.
const SERVICES_PER_PART: usize = 8;

impl Tables {
    /// Asks for a part of what packets of established flows need, by its number; there are
    /// [`Self::parts`]. Costs about a microsecond.
    pub fn warm(&self, part: usize) {
        self.lanes.warm(part);
        self.v4.own.warm(part);
        self.v6.own.warm(part);
        for (_, service) in self.services_of_part(part) {
            if let Some(service) = service {
                self.touch_vip(service);
            }
        }
    }

    /// The service slots of a part, with their numbers.
    pub(crate) fn services_of_part(
        &self,
        part: usize,
    ) -> impl Iterator<Item = (usize, Option<&Service>)> {
        let first = part * SERVICES_PER_PART;
        let slots = self.services.iter().enumerate();
        let slots = slots.skip(first).take(SERVICES_PER_PART);
        slots.map(|(slot, service)| (slot, service.as_deref()))
    }

    /// How many parts there are: tables of a hundred services are one or two.
    pub fn parts(&self) -> usize {
        let vips = self.services.len().div_ceil(SERVICES_PER_PART);
        let lines = [self.v4.own.lines(), self.v6.own.lines(), self.lanes.count()];
        let most = lines.into_iter().max().unwrap_or(0);
        vips.max(most.div_ceil(LINES_PER_PART))
    }

    fn touch_vip(&self, service: &Service) {
        match service.vip {
            IpAddr::V4(vip) => black_box(self.v4.vips.get(&vip)),
            IpAddr::V6(vip) => black_box(self.v6.vips.get(&vip)),
        };
    }
}

/// Asks for the lines of a part of a slice with so many elements to a line.
pub(crate) fn warm_part<T>(all: &[T], per_line: usize, part: usize) {
    let count = LINES_PER_PART * per_line;
    prefetch_range(all.chunks(count.max(1)).nth(part).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use crate::tables::Mode;
    use crate::testing::world::{ServiceSpec, Spec};

    #[test]
    fn parts_hold_all_that_there_is_and_one_that_is_none_is_empty() {
        let mut spec = Spec::standard();
        for n in 0..100 {
            let vip = format!("10.9.9.{n}");
            spec = spec.with(ServiceSpec::tcp(&vip, 80, Mode::Dr, &[11, 12]));
        }
        let tables = spec.tables(1);
        assert_eq!((tables.services.len(), tables.servers.len()), (100, 200));
        // Eight VIPs to a part.
        assert_eq!(tables.parts(), 13);
        for part in 0..=tables.parts() {
            tables.warm(part);
        }
        let few = Spec::standard().with(ServiceSpec::tcp("10.9.9.9", 80, Mode::Dr, &[11]));
        assert_eq!(few.tables(1).parts(), 1);
    }
}
