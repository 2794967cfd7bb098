//! A safe prefetch and the tag compare, for crates that may not use unsafe.
