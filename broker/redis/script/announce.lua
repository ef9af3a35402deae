-- announce announces what is not retained where the topic is.
return redis.call('PUBLISH', ARGV[1], ARGV[2])
