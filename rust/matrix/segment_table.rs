//! Lists of segments for many tiles. Most lists are others moved by some panels: each is stored once.

use crate::simd::{Segment, SegmentList, Segments};
use std::collections::HashMap;

/// A list of segments for each of many places.
#[derive(Clone, Debug, Default)]
pub struct SegmentTable {
    lists: Vec<SegmentList>,
    /// The list of each place, and the panel that it counts from.
    places: Vec<(u32, u32)>,
    /// Places whose lists differ in panels and lanes only.
    alike: Vec<Vec<u32>>,
}

impl SegmentTable {
    /// A table of the segments of each place.
    pub fn new(places: impl Iterator<Item = Vec<Segment>>) -> SegmentTable {
        let mut table = SegmentTable::default();
        let (mut known, mut shapes) = (HashMap::new(), HashMap::new());
        for (place, mut segments) in places.enumerate() {
            let base = segments.iter().map(|s| s.panel).min().unwrap_or(0);
            segments.iter_mut().for_each(|s| s.panel -= base);
            let shape: Vec<_> = segments.iter().map(|s| (s.to, s.count)).collect();
            let group = *shapes.entry(shape).or_insert_with(|| {
                table.alike.push(Vec::new());
                table.alike.len() - 1
            });
            table.alike[group].push(place as u32);
            let list = *known.entry(segments).or_insert_with_key(|segments: &Vec<Segment>| {
                table.lists.push(SegmentList::new(segments.clone()));
                table.lists.len() as u32 - 1
            });
            table.places.push((list, base));
        }
        table
    }

    /// The number of places.
    pub fn places(&self) -> usize {
        self.places.len()
    }

    /// The panel that the list of a place counts from, and the list.
    pub fn get(&self, place: usize) -> (usize, Segments<'_>) {
        let (list, base) = self.places[place];
        (base as usize, self.lists[list as usize].all())
    }

    /// Groups of places whose lists differ in panels and lanes only.
    pub fn alike(&self) -> impl Iterator<Item = &[u32]> {
        self.alike.iter().map(Vec::as_slice)
    }
}
