//! Frames against the checklist.
