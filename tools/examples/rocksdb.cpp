// SPDX-License-Identifier: BSD-2-Clause
// rocksdb.cpp - RocksDB, on a file system that reads each block once at a time: 64 threads that
// want the same cold blocks at the same moment, in 20 rounds.  Prints how often files were read.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/file_system.h>
#include <rocksdb/table.h>
#include <singleflight.hpp>
#include <string>
#include <thread>
#include <vector>

using namespace rocksdb;

static constexpr int n_threads = 64, n_blocks = 20;
static singleflight::group blocks;
static std::atomic<int> n_reads{0};
static std::atomic<bool> is_slow{false};

// ------------------------------------------------------------------------ the file system

struct read_block {
    IOStatus status;
    std::string data;
};

class shared_file : public FSRandomAccessFileOwnerWrapper
{
  public:
    shared_file(std::string name, std::unique_ptr<FSRandomAccessFile> &&file)
        : FSRandomAccessFileOwnerWrapper(std::move(file)), name_(std::move(name))
    {
    }

    IOStatus Read(uint64_t offset, size_t n, const IOOptions &options, Slice *result, char *scratch,
                  IODebugContext *debug) const override
    {
        auto key = name_ + ':' + std::to_string(offset) + ':' + std::to_string(n);
        auto block = blocks.run(key, [&] { // one thread reads, into its own memory
            Slice got;
            IOStatus status = read_slowly(offset, n, options, &got, scratch, debug);
            return read_block{status, got.ToString()};
        });
        *result = Slice(scratch, block->data.size());
        block->data.copy(scratch, block->data.size());
        return block->status;
    }

  private:
    // A disk that has not got the block before all threads want it.
    IOStatus read_slowly(uint64_t offset, size_t n, const IOOptions &options, Slice *got,
                         char *scratch, IODebugContext *debug) const
    {
        while (is_slow && blocks.stats().waiting < n_threads - 1)
            std::this_thread::yield();
        n_reads++;
        return FSRandomAccessFileOwnerWrapper::Read(offset, n, options, got, scratch, debug);
    }

    std::string name_;
};

class shared_reads : public FileSystemWrapper
{
  public:
    using FileSystemWrapper::FileSystemWrapper;
    const char *Name() const override { return "shared_reads"; }

    IOStatus NewRandomAccessFile(const std::string &name, const FileOptions &options,
                                 std::unique_ptr<FSRandomAccessFile> *file,
                                 IODebugContext *debug) override
    {
        IOStatus status = target()->NewRandomAccessFile(name, options, file, debug);
        if (status.ok())
            *file = std::make_unique<shared_file>(name, std::move(*file));
        return status;
    }
};

// ------------------------------------------------------------------------------ the threads

static void check(const Status &status)
{
    if (status.ok())
        return;
    std::fprintf(stderr, "%s\n", status.ToString().c_str());
    std::exit(EXIT_FAILURE);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return EXIT_FAILURE;
    std::filesystem::remove_all(argv[1]);
    auto env = NewCompositeEnv(std::make_shared<shared_reads>(FileSystem::Default()));
    BlockBasedTableOptions table;
    table.no_block_cache = true; // every block is cold, always
    Options options;
    options.create_if_missing = true;
    options.env = env.get();
    options.compression = kNoCompression;
    options.table_factory.reset(NewBlockBasedTableFactory(table));
    DB *opened;
    check(DB::Open(options, argv[1], &opened));
    std::unique_ptr<DB> db(opened);
    for (int i = 0; i < n_blocks; i++) // each fills a block
        check(db->Put(WriteOptions(), std::to_string(i),
                      std::string(8192, static_cast<char>('a' + i))));
    check(db->Flush(FlushOptions()));

    n_reads = 0;
    is_slow = true;
    std::atomic<int> n_right{0};
    for (int i = 0; i < n_blocks; i++) {
        std::vector<std::thread> threads;
        for (int k = 0; k < n_threads; k++)
            threads.emplace_back([&] {
                std::string value;
                check(db->Get(ReadOptions(), std::to_string(i), &value));
                n_right += value == std::string(8192, static_cast<char>('a' + i));
            });
        for (auto &thread : threads)
            thread.join();
    }
    is_slow = false;
    std::printf("%d right answers, %d reads\n", n_right.load(), n_reads.load());
    check(db->Close());
}
