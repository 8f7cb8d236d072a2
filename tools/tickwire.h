/* Reads the binary records of tickwire's native protocol ("format":"binary"). C11, this header only.
 *
 * A WebSocket message holds one or more records end to end:
 *
 *     struct tickwire_record record;
 *     size_t at = 0, used;
 *     while ((used = tickwire_decode(message + at, length - at, &record)) > 0) {
 *         if (record.header.schema == TICKWIRE_BAR) ... record.bar.close ...
 *         at += used;
 *     }
 *     if (at != length) ... the message is damaged ...
 *
 * Times are nanoseconds since 1970 UTC, prices are in 1e-9, sizes and volumes in 1e-8. Little-endian on the wire; the structs
 * have the layout of the wire, and are filled byte by byte, so any host can read them.
 */
#ifndef TICKWIRE_H
#define TICKWIRE_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { TICKWIRE_BAR = 1, TICKWIRE_TRADE = 2, TICKWIRE_QUOTE = 3, TICKWIRE_STATUS = 4 };
enum { TICKWIRE_VERSION = 1 };
enum { TICKWIRE_CHANNEL_BARS = 0, TICKWIRE_CHANNEL_TRADES = 1, TICKWIRE_CHANNEL_QUOTES = 2, TICKWIRE_CHANNEL_STATUS = 3 };
enum { TICKWIRE_FORMING = 0, TICKWIRE_CLOSED = 1, TICKWIRE_REVISED = 2 };
enum { TICKWIRE_SALE = 0, TICKWIRE_CANCEL = 1, TICKWIRE_CORRECTION = 2 };
enum { TICKWIRE_SNAPSHOT = 1 };
enum {
    TICKWIRE_REASON_NONE = 0, TICKWIRE_REASON_LATE = 1, TICKWIRE_REASON_CANCEL = 2, TICKWIRE_REASON_CORRECT = 3,
    TICKWIRE_REASON_BACKFILL = 4, TICKWIRE_REASON_GAP = 5
};
enum { TICKWIRE_INCOMPLETE = 1, TICKWIRE_SYNTHETIC = 2, TICKWIRE_HALTED = 4, TICKWIRE_REFUSED = 8, TICKWIRE_POLLED = 16 };
enum { TICKWIRE_EXCHANGE_NONE = 0, TICKWIRE_EXCHANGE_NUMBER = 1, TICKWIRE_EXCHANGE_LETTER = 2 };
enum { TICKWIRE_HAS_BID = 1, TICKWIRE_HAS_ASK = 2, TICKWIRE_HAS_LAST = 4 };
/* A bar without volume has no vwap. */
#define TICKWIRE_NO_VWAP INT64_MIN

struct tickwire_u128 {
    uint64_t low, high;
};

struct tickwire_header {
    uint16_t schema;
    uint16_t version;
    uint32_t length;   /* of the record, header included */
    uint64_t sequence; /* the topic's last fact, this one if it is a fact */
    int64_t ts_event;  /* by the venue's clock */
    int64_t ts_recv;   /* when it was read */
    int64_t ts_sent;   /* when it was encoded */
    uint8_t channel;
    uint8_t state;
    uint8_t flags;
    uint8_t symbol_length; /* 1 to 32 */
    uint32_t timeframe_s;  /* 0 where it is not a bar */
    char symbol[32];       /* zeros after it; without one where it has 32 bytes */
};

struct tickwire_bar {
    int64_t start, end; /* end is not included */
    int64_t open, high, low, close;
    struct tickwire_u128 volume;
    int64_t vwap; /* or TICKWIRE_NO_VWAP */
    uint64_t trades;
    uint32_t revision;
    uint8_t reason;
    uint8_t flags;
    uint8_t reserved[2];
};

struct tickwire_trade {
    int64_t timestamp;
    int64_t price;
    uint64_t size;
    uint8_t exchange;
    uint8_t exchange_form;
    uint8_t trade_id_length; /* 0: none */
    uint8_t reserved;
    uint8_t conditions[4]; /* 0: none */
    char trade_id[32];     /* zeros after it */
};

struct tickwire_quote {
    int64_t bid, ask;
    uint64_t bid_size, ask_size;
    int64_t last;
    uint8_t present; /* TICKWIRE_HAS_ bits; what is not there is 0 */
    uint8_t reserved[7];
    struct tickwire_u128 volume;
};

/* What the market does is in the header's state: 0 closed, 1 pre, 2 regular, 3 post, 4 holiday, 5 halted, 6 unknown. */
struct tickwire_status {
    int64_t since, next_change, next_open, next_close; /* INT64_MAX: not known */
};

struct tickwire_record {
    struct tickwire_header header;
    union {
        struct tickwire_bar bar;
        struct tickwire_trade trade;
        struct tickwire_quote quote;
        struct tickwire_status status;
    };
};

static_assert(sizeof(struct tickwire_header) == 80, "header");
static_assert(offsetof(struct tickwire_header, length) == 4, "header.length");
static_assert(offsetof(struct tickwire_header, sequence) == 8, "header.sequence");
static_assert(offsetof(struct tickwire_header, ts_event) == 16, "header.ts_event");
static_assert(offsetof(struct tickwire_header, ts_recv) == 24, "header.ts_recv");
static_assert(offsetof(struct tickwire_header, ts_sent) == 32, "header.ts_sent");
static_assert(offsetof(struct tickwire_header, channel) == 40, "header.channel");
static_assert(offsetof(struct tickwire_header, symbol_length) == 43, "header.symbol_length");
static_assert(offsetof(struct tickwire_header, timeframe_s) == 44, "header.timeframe_s");
static_assert(offsetof(struct tickwire_header, symbol) == 48, "header.symbol");
static_assert(sizeof(struct tickwire_bar) == 168 - 80, "bar");
static_assert(offsetof(struct tickwire_bar, open) == 96 - 80, "bar.open");
static_assert(offsetof(struct tickwire_bar, volume) == 128 - 80, "bar.volume");
static_assert(offsetof(struct tickwire_bar, vwap) == 144 - 80, "bar.vwap");
static_assert(offsetof(struct tickwire_bar, revision) == 160 - 80, "bar.revision");
static_assert(offsetof(struct tickwire_bar, flags) == 165 - 80, "bar.flags");
static_assert(sizeof(struct tickwire_trade) == 144 - 80, "trade");
static_assert(offsetof(struct tickwire_trade, exchange) == 104 - 80, "trade.exchange");
static_assert(offsetof(struct tickwire_trade, conditions) == 108 - 80, "trade.conditions");
static_assert(offsetof(struct tickwire_trade, trade_id) == 112 - 80, "trade.trade_id");
static_assert(sizeof(struct tickwire_quote) == 144 - 80, "quote");
static_assert(offsetof(struct tickwire_quote, last) == 112 - 80, "quote.last");
static_assert(offsetof(struct tickwire_quote, present) == 120 - 80, "quote.present");
static_assert(offsetof(struct tickwire_quote, volume) == 128 - 80, "quote.volume");
static_assert(offsetof(struct tickwire_record, bar) == 80, "record");

static inline uint64_t tickwire_uint(const uint8_t *bytes, int width)
{
    uint64_t value = 0;
    for (int i = width - 1; i >= 0; i--)
        value = value << 8 | bytes[i];
    return value;
}

static inline int64_t tickwire_int(const uint8_t *bytes)
{
    uint64_t bits = tickwire_uint(bytes, 8);
    int64_t value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline struct tickwire_u128 tickwire_wide(const uint8_t *bytes)
{
    struct tickwire_u128 value = {tickwire_uint(bytes, 8), tickwire_uint(bytes + 8, 8)};
    return value;
}

/* Reads the record at the beginning of `length` bytes, and returns how many of them it takes; 0 where they are not a whole
 * and sound record. Of a schema that this header does not know it fills the header alone: pass over it. */
static inline size_t tickwire_decode(const void *message, size_t length, struct tickwire_record *record)
{
    const uint8_t *bytes = (const uint8_t *)message;
    struct tickwire_header *header = &record->header;
    memset(record, 0, sizeof *record);
    if (length < 80)
        return 0;
    header->schema = (uint16_t)tickwire_uint(bytes, 2);
    header->version = (uint16_t)tickwire_uint(bytes + 2, 2);
    header->length = (uint32_t)tickwire_uint(bytes + 4, 4);
    header->sequence = tickwire_uint(bytes + 8, 8);
    header->ts_event = tickwire_int(bytes + 16);
    header->ts_recv = tickwire_int(bytes + 24);
    header->ts_sent = tickwire_int(bytes + 32);
    header->channel = bytes[40];
    header->state = bytes[41];
    header->flags = bytes[42];
    header->symbol_length = bytes[43];
    header->timeframe_s = (uint32_t)tickwire_uint(bytes + 44, 4);
    memcpy(header->symbol, bytes + 48, 32);
    if (header->version != TICKWIRE_VERSION || header->length < 80 || header->length % 8 != 0 ||
        header->length > length || header->symbol_length < 1 || header->symbol_length > 32)
        return 0;
    if (header->schema == TICKWIRE_BAR) {
        struct tickwire_bar *bar = &record->bar;
        if (header->length < 168)
            return 0;
        bar->start = tickwire_int(bytes + 80);
        bar->end = tickwire_int(bytes + 88);
        bar->open = tickwire_int(bytes + 96);
        bar->high = tickwire_int(bytes + 104);
        bar->low = tickwire_int(bytes + 112);
        bar->close = tickwire_int(bytes + 120);
        bar->volume = tickwire_wide(bytes + 128);
        bar->vwap = tickwire_int(bytes + 144);
        bar->trades = tickwire_uint(bytes + 152, 8);
        bar->revision = (uint32_t)tickwire_uint(bytes + 160, 4);
        bar->reason = bytes[164];
        bar->flags = bytes[165];
    } else if (header->schema == TICKWIRE_TRADE) {
        struct tickwire_trade *trade = &record->trade;
        if (header->length < 144 || bytes[106] > 32)
            return 0;
        trade->timestamp = tickwire_int(bytes + 80);
        trade->price = tickwire_int(bytes + 88);
        trade->size = tickwire_uint(bytes + 96, 8);
        trade->exchange = bytes[104];
        trade->exchange_form = bytes[105];
        trade->trade_id_length = bytes[106];
        memcpy(trade->conditions, bytes + 108, 4);
        memcpy(trade->trade_id, bytes + 112, 32);
    } else if (header->schema == TICKWIRE_QUOTE) {
        struct tickwire_quote *quote = &record->quote;
        if (header->length < 144)
            return 0;
        quote->bid = tickwire_int(bytes + 80);
        quote->ask = tickwire_int(bytes + 88);
        quote->bid_size = tickwire_uint(bytes + 96, 8);
        quote->ask_size = tickwire_uint(bytes + 104, 8);
        quote->last = tickwire_int(bytes + 112);
        quote->present = bytes[120];
        quote->volume = tickwire_wide(bytes + 128);
    } else if (header->schema == TICKWIRE_STATUS) {
        struct tickwire_status *status = &record->status;
        if (header->length < 112)
            return 0;
        status->since = tickwire_int(bytes + 80);
        status->next_change = tickwire_int(bytes + 88);
        status->next_open = tickwire_int(bytes + 96);
        status->next_close = tickwire_int(bytes + 104);
    }
    return header->length;
}

#endif
