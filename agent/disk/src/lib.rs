//! What makes a power cut harmless: atomic files, numbered ledgers, a clock with a floor.
