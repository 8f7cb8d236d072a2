/* Prints the records of one message from standard input, a line each. Exit 1 where the message is not sound to its end. */
#include <inttypes.h>
#include <stdio.h>

#include "tickwire.h"

static uint8_t message[1 << 20];

static void wide(struct tickwire_u128 value)
{
    printf(" %" PRIu64 ":%" PRIu64, value.high, value.low);
}

static void print(const struct tickwire_record *record)
{
    const struct tickwire_header *h = &record->header;
    printf("%u %" PRIu64 " %" PRId64 " %" PRId64 " %" PRId64 " %u %u %u %" PRIu32 " %.*s", h->schema, h->sequence, h->ts_event,
           h->ts_recv, h->ts_sent, h->channel, h->state, h->flags, h->timeframe_s, h->symbol_length, h->symbol);
    if (h->schema == TICKWIRE_BAR) {
        const struct tickwire_bar *b = &record->bar;
        printf(" %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64, b->start, b->end, b->open, b->high, b->low,
               b->close);
        wide(b->volume);
        printf(" %" PRId64 " %" PRIu64 " %" PRIu32 " %u %u", b->vwap, b->trades, b->revision, b->reason, b->flags);
    } else if (h->schema == TICKWIRE_TRADE) {
        const struct tickwire_trade *t = &record->trade;
        printf(" %" PRId64 " %" PRId64 " %" PRIu64 " %u %u", t->timestamp, t->price, t->size, t->exchange, t->exchange_form);
        for (int i = 0; i < 4; i++)
            printf(" %u", t->conditions[i]);
        printf(" [%.*s]", t->trade_id_length, t->trade_id);
    } else if (h->schema == TICKWIRE_QUOTE) {
        const struct tickwire_quote *q = &record->quote;
        printf(" %" PRId64 " %" PRId64 " %" PRIu64 " %" PRIu64 " %" PRId64 " %u", q->bid, q->ask, q->bid_size, q->ask_size, q->last,
               q->present);
        wide(q->volume);
    }
    putchar('\n');
}

int main(void)
{
    struct tickwire_record record;
    size_t length = fread(message, 1, sizeof message, stdin), at = 0, used;
    while ((used = tickwire_decode(message + at, length - at, &record)) > 0) {
        print(&record);
        at += used;
    }
    return at == length ? 0 : 1;
}
