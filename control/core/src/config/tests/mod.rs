//! Tests of the whole path from text to configuration.
