//! Songs whose every byte follows from their id and revision, so that what is
//! read can be held against what was written without keeping it.

use std::sync::Arc;

use anyhow::{Context, Result};

use crate::lance::arrow_array::cast::AsArray;
use crate::lance::arrow_array::types::{Float32Type, Int64Type};
use crate::lance::arrow_array::{
    ArrayRef, FixedSizeListArray, Int64Array, LargeBinaryArray, RecordBatch, StringArray,
};
use crate::lance::arrow_schema::{DataType, Field, Schema, SchemaRef};

const DIMENSIONS: usize = 8;

/// A row of the table.
#[derive(Debug)]
pub struct Song {
    pub id: i64,
    pub title: String,
    pub vector: Vec<f32>,
    pub audio: Vec<u8>,
}

/// What is kept of a song to recognise it by.
#[derive(Debug, PartialEq)]
pub struct Summary {
    pub title: String,
    pub vector: Vec<f32>,
    pub size: usize,
    pub crc32: u32,
}

impl Song {
    /// The song `id` as it is at `revision`, with `size` bytes of audio.
    pub fn new(id: i64, revision: u32, size: usize) -> Self {
        let mut noise = Noise::new(id, revision);
        // 24 bits, as many as an f32 holds, between 0 and 1.
        let vector = (0..DIMENSIONS)
            .map(|_| (noise.next() >> 40) as f32 / (1 << 24) as f32)
            .collect();
        let mut audio = vec![0; size];
        for chunk in audio.chunks_mut(size_of::<u64>()) {
            chunk.copy_from_slice(&noise.next().to_le_bytes()[..chunk.len()]);
        }
        Self {
            id,
            title: format!("Song {id}, revision {revision}"),
            vector,
            audio,
        }
    }

    pub fn summary(&self) -> Summary {
        Summary {
            title: self.title.clone(),
            vector: self.vector.clone(),
            size: self.audio.len(),
            crc32: crc32fast::hash(&self.audio),
        }
    }
}

/// A number that follows from `id` and `revision`, and from nothing else.
pub fn noise(id: i64, revision: u32) -> u64 {
    Noise::new(id, revision).next()
}

/// SplitMix64: fast, and nothing compresses it.
struct Noise(u64);

impl Noise {
    fn new(id: i64, revision: u32) -> Self {
        Self(((id as u64) << 32) | u64::from(revision))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }
}

pub fn schema() -> SchemaRef {
    let component = Arc::new(Field::new("item", DataType::Float32, true));
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("title", DataType::Utf8, false),
        Field::new(
            "vector",
            DataType::FixedSizeList(component, DIMENSIONS as i32),
            false,
        ),
        Field::new("audio", DataType::LargeBinary, false),
    ]))
}

pub fn to_batch(songs: &[Song]) -> Result<RecordBatch> {
    let vectors = songs
        .iter()
        .map(|song| Some(song.vector.iter().copied().map(Some)));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(
            songs.iter().map(|song| song.id),
        )),
        Arc::new(StringArray::from_iter_values(
            songs.iter().map(|song| &song.title),
        )),
        Arc::new(
            FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(
                vectors,
                DIMENSIONS as i32,
            ),
        ),
        Arc::new(LargeBinaryArray::from_iter_values(
            songs.iter().map(|song| &song.audio),
        )),
    ];
    Ok(RecordBatch::try_new(schema(), columns)?)
}

/// The column `id` of `batch`.
pub fn ids(batch: &RecordBatch) -> Result<Vec<i64>> {
    Ok(column(batch, "id")?
        .as_primitive::<Int64Type>()
        .values()
        .to_vec())
}

/// What `batch` says of each song in it.
pub fn summaries(batch: &RecordBatch) -> Result<Vec<Summary>> {
    let titles = column(batch, "title")?.as_string::<i32>();
    let vectors = column(batch, "vector")?.as_fixed_size_list();
    let audios = column(batch, "audio")?.as_binary::<i64>();
    Ok((0..batch.num_rows())
        .map(|row| Summary {
            title: titles.value(row).to_owned(),
            vector: vectors
                .value(row)
                .as_primitive::<Float32Type>()
                .values()
                .to_vec(),
            size: audios.value(row).len(),
            crc32: crc32fast::hash(audios.value(row)),
        })
        .collect())
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    batch
        .column_by_name(name)
        .with_context(|| format!("the answer has no column `{name}`"))
}
