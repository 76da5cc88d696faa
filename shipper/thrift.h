/*
 * Thrift's compact protocol, as far as Parquet's metadata needs it: writing,
 * into memory.  No C library for it is packaged without GLib, and this is a
 * page of code: https://github.com/apache/thrift, thrift-compact-protocol.md.
 *
 * Fields of a struct are written in ascending order of number.  Every
 * thrift_struct_begin has its thrift_struct_end; the outermost one too.
 */
#ifndef SHIPPER_THRIFT_H
#define SHIPPER_THRIFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buffer.h"

enum { THRIFT_DEPTH = 12 };

enum thrift_type {
	THRIFT_TRUE = 1, THRIFT_FALSE = 2, THRIFT_BYTE = 3, THRIFT_I16 = 4, THRIFT_I32 = 5, THRIFT_I64 = 6,
	THRIFT_BINARY = 8, THRIFT_LIST = 9, THRIFT_STRUCT = 12,
};

/* Zeroed but for out is a new one. */
struct thrift {
	struct buffer	*out;
	int16_t		 last[THRIFT_DEPTH];	/* the number of the struct's last field */
	unsigned int	 depth;
};

/* A struct that is no field: the whole, or an element of a list. */
void	thrift_struct_begin(struct thrift *);
void	thrift_struct_end(struct thrift *);
/* Fields of the innermost struct. */
void	thrift_field_struct(struct thrift *, int16_t number);	/* ends with thrift_struct_end */
void	thrift_field_list(struct thrift *, int16_t number, enum thrift_type, size_t count);
void	thrift_field_i8(struct thrift *, int16_t number, int8_t);
void	thrift_field_i16(struct thrift *, int16_t number, int16_t);
void	thrift_field_i32(struct thrift *, int16_t number, int32_t);
void	thrift_field_i64(struct thrift *, int16_t number, int64_t);
void	thrift_field_bool(struct thrift *, int16_t number, bool);
void	thrift_field_binary(struct thrift *, int16_t number, const void *, size_t length);
void	thrift_field_string(struct thrift *, int16_t number, const char *);
/* An empty struct: a union's choice. */
void	thrift_field_empty(struct thrift *, int16_t number);
/* Elements of a list; those of type THRIFT_TRUE are bools. */
void	thrift_i32(struct thrift *, int32_t);
void	thrift_i64(struct thrift *, int64_t);
void	thrift_bool(struct thrift *, bool);
void	thrift_binary(struct thrift *, const void *, size_t length);

#endif
