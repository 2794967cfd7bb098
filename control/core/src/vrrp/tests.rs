//! All instances of a director.
