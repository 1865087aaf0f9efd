//! Drives that fail.
