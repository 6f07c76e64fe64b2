//! Lists of segments for many tiles. Most lists are others moved by some panels: each is stored once.

use crate::simd::{Segment, SegmentList, Segments};
use std::collections::HashMap;

/// A list of segments for each of many places.
#[derive(Clone, Debug, Default)]
pub struct SegmentTable {
    lists: Vec<SegmentList>,
    /// The list of each place, and the panel that it counts from.
    places: Vec<(u32, u32)>,
    known: HashMap<Vec<Segment>, u32>,
}

impl SegmentTable {
    /// Adds the segments of the next place.
    pub fn push(&mut self, mut segments: Vec<Segment>) {
        let base = segments.iter().map(|s| s.panel).min().unwrap_or(0);
        segments.iter_mut().for_each(|s| s.panel -= base);
        let next = self.lists.len() as u32;
        let list = *self.known.entry(segments).or_insert_with_key(|segments| {
            self.lists.push(SegmentList::new(segments.clone()));
            next
        });
        self.places.push((list, base));
    }

    /// The number of the list of a place, the panel that it counts from, and the list.
    pub fn get(&self, place: usize) -> (u32, usize, Segments<'_>) {
        let (list, base) = self.places[place];
        (list, base as usize, self.lists[list as usize].all())
    }

    /// Places.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}
